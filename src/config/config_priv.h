/* Inside config: one row per key, the lines of an INI file, where a value came from.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QEP_CONFIG_PRIV_H
#define QEP_CONFIG_PRIV_H

#include "qep/config.h"

/* --- text that grows ------------------------------------------------------------------ */

typedef struct qep_text {
    char *s; /* qep_free */
    int64_t n, cap;
} qep_text;
void qep_text_add(qep_text *t, const char *fmt, ...) QEP_PRINTF(2, 3);

/* Equal texts. */
bool qep_same(const char *a, const char *b);

/* --- the schema ------------------------------------------------------------------------- */

typedef enum qep_key_type {
    QEP_KEY_TEXT,     /* char *, not empty */
    QEP_KEY_PATH,     /* char *, absolute; NULL when not set, or special */
    QEP_KEY_PATHS,    /* char ** and its count */
    QEP_KEY_FILES,    /* qep_named_file * and its count */
    QEP_KEY_GLOBS,    /* char *: "a, b" */
    QEP_KEY_RANGES,   /* char *: "0-9, 12", or the special word */
    QEP_KEY_CHOICE,   /* const char *, one of choices */
    QEP_KEY_INT,      /* int64_t in [min, max], or one of choices, or special */
    QEP_KEY_SIZE,     /* int64_t bytes; K M G T are powers of 1000 */
    QEP_KEY_BOOL,     /* bool */
    QEP_KEY_REAL,     /* double in [min, max] */
    QEP_KEY_DURATION, /* double seconds, or special */
    QEP_KEY_GRID      /* int64_t P of "Px1", or special */
} qep_key_type;

typedef struct qep_key {
    const char *section, *name;
    qep_key_type type;
    bool linear;                /* offset lies in qep_linear_config, not in qep_config */
    bool identity;              /* the result depends on it */
    size_t offset, count_at;    /* count_at: of a list's length */
    const char *def;            /* value when nobody sets it; NULL: not set */
    const char *example;        /* stands for def in the reference file when def is NULL */
    const char *const *choices; /* NULL-terminated */
    bool methods;               /* the choices are the methods of quant.h */
    double min, max;
    const char *special; /* a word that stands for special_value */
    int64_t special_value;
    const char *in_override; /* its name in [override NAME]; NULL: not allowed there */
    const char *help;
} qep_key;

extern const qep_key qep_keys[];
extern const int qep_n_keys;
extern const char
    *const qep_sections[]; /* in the order of the file, NULL-terminated; with "override" */

/* Row of section.name, -1 when there is none. section "override": the names that hold there. */
int qep_key_find(const char *section, const char *name);
bool qep_section_known(const char *section);
/* The i-th allowed word, NULL behind the last and when any value of the type will do. */
const char *qep_key_choice(const qep_key *k, int i);
/* What the key means: its help, the choices' own help, and which methods read it when not all do. */
void qep_key_help(const qep_key *k, qep_text *t);
/* Address of the key's value; linear keys live in `lin`, others in c. */
void *qep_key_value(const qep_key *k, qep_config *c, qep_linear_config *lin);
/* "2, 3, 4, 8" or "1 .. 65536 or auto": what is allowed. */
void qep_key_allowed(const qep_key *k, qep_text *t);
/* The name of the list that is nearest to `word` by edit distance; NULL when none is near. */
const char *qep_nearest(const char *word, const char *const *names);

/* --- a place in the input, for messages --------------------------------------------------- */

typedef struct qep_place {
    const char *source;  /* file name */
    int line;            /* in the file; 0: no line */
    const char *set;     /* the --set text, NULL when from the file */
    const char *section; /* "quantization" or "override NAME" */
    const char *key;     /* NULL: the section itself */
} qep_place;
/* "run.ini:12: quantization.bits: <message>", or "--set quantization.bits=5: <message>".
 * QEP_E_CONFIG. */
qep_status qep_place_fail(const qep_place *p, const char *fmt, ...) QEP_PRINTF(2, 3);

/* --- INI text ----------------------------------------------------------------------------- */

typedef struct qep_ini_entry {
    char *section; /* "run", "override big" */
    char *key;     /* NULL: the section's header */
    char *value;   /* as written: quotes still there, comment cut off */
    int line;
} qep_ini_entry;
typedef struct qep_ini {
    qep_ini_entry *entries;
    int64_t n;
} qep_ini;
/* Splits the text; syntax errors and duplicates are QEP_E_CONFIG. */
QEP_MUST_CHECK qep_status qep_ini_read(const char *text, const char *source, qep_ini *ini);
void qep_ini_free(qep_ini *ini);
/* First entry of an exclude list that fits none of the modules, NULL when all do; *length of the entry. */
const char *qep_exclude_stray(const char *list, const char *const *modules, int64_t n, int *length);
char *qep_slice(const char *begin, const char *end); /* a copy of [begin, end), qep_free */
bool qep_section_name_ok(const char *section);       /* known shape: "word" or "override NAME" */
/* NULL, or the NAME of "override NAME" (borrowed). */
const char *qep_override_name(const char *section);

/* --- values --------------------------------------------------------------------------------- */

/* Quotes off, ${NAME} in: *out (qep_free). The text must be one value. */
QEP_MUST_CHECK qep_status qep_value_scalar(const qep_place *p, const char *raw, char **out);
/* Comma list of such values; an empty text is an empty list. */
QEP_MUST_CHECK qep_status qep_value_list(const qep_place *p, const char *raw, char ***out,
                                         int64_t *n);
void qep_free_strings(char **s, int64_t n);
/* Parses raw into the key's variable at `value` (its old content is freed). dir: relative paths
 * start there. */
QEP_MUST_CHECK qep_status qep_key_parse(const qep_key *k, const qep_place *p, const char *raw,
                                        const char *dir, qep_config *c, qep_linear_config *lin);
/* Frees what the key's variable owns. */
void qep_key_clear(const qep_key *k, qep_config *c, qep_linear_config *lin);
/* The value as text that parses to the same value. */
void qep_key_print(const qep_key *k, const qep_config *c, const qep_linear_config *lin,
                   qep_text *t);
/* Text so that it reads back as one value or one item of a list. */
void qep_item_print(const char *s, qep_text *t);
/* Shortest text that reads back as v. */
void qep_real_text(double v, char *buf, size_t cap);
/* "12", "-1"; false unless all of s is one decimal number that fits. */
bool qep_read_i64(const char *s, int64_t *out);
/* "9" or "0-9", both ends included, none negative. */
bool qep_read_range(const char *text, int64_t *from, int64_t *to);
bool qep_read_real(const char *s, double *out); /* decimal, finite */
bool qep_read_size(const char *s, int64_t *out);
bool qep_read_duration(const char *s, double *out);
/* Absolute path of `path` seen from dir; qep_free. */
char *qep_path_absolute(const char *dir, const char *path);

/* --- combinations ----------------------------------------------------------------------------- */

/* Where every key was set: row -> 0 default, line, or -(number of the --set + 1). One row of this
 * per [override] too. */
typedef struct qep_origin {
    const char *source;
    const char *const *sets;
    int *keys; /* [qep_n_keys] */
    int *over; /* [n_overrides][qep_n_keys] */
} qep_origin;
QEP_MUST_CHECK qep_status qep_config_check(const qep_config *c, const qep_origin *o);
/* The effective settings of the modules of override `at`, as far as it alone tells; at -1: those of [quantization] and [correction]. */
qep_linear_config qep_linear_under(const qep_config *c, int64_t at);

#endif
