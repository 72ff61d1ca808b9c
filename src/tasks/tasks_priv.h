/* tasks, inside: an example as text. SPDX-License-Identifier: Apache-2.0 */
#ifndef QEP_TASKS_PRIV_H
#define QEP_TASKS_PRIV_H

#include "qep/json.h"
#include "qep/tasks.h"

typedef struct qep_place {
    const char *file;
    int64_t line; /* 0: the file as a whole */
} qep_place;

/* QEP_E_INPUT: "FILE, line N: ..." */
qep_status qep_task_fail(const qep_place *at, const char *what, const char *name);

typedef struct qep_example {
    char *context;      /* qep_free */
    char **choices;     /* [n]; qep_free */
    int64_t n;
    int64_t gold;       /* -1: in the file of labels */
} qep_example;

typedef struct qep_task_format {
    const char *kind;
    const char *mark; /* a field that no other format has */
    bool word;
    qep_status (*read)(const qep_json *o, const qep_place *at, qep_example *e);
} qep_task_format;

/* The format whose mark the object has; NULL: none. */
const qep_task_format *qep_task_format_of(const qep_json *o);
void qep_example_free(qep_example *e);

/* Bytes of white space at the end of a text, as Python's str.rstrip sees it. */
int64_t qep_trailing_space(const char *s, int64_t n);
/* Characters (code points) of UTF-8. */
int64_t qep_characters(const char *s);

/* Appends the tokens of a context and one continuation to t. */
qep_status qep_task_add_choice(qep_task *t, const qep_task_rules *rules, const qep_place *at,
                               const char *context, const char *choice);

#endif
