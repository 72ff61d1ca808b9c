/* JSON text in and out, through jansson (base is its only door).
 * Values are borrowed from the document they were read from, unless a comment says otherwise.
 * Order of object members is kept. Duplicate keys are an error when reading. SPDX-License-Identifier: Apache-2.0 */
#ifndef QEP_JSON_H
#define QEP_JSON_H

#include "qep/base.h"

typedef struct qep_json qep_json; /* any JSON value */

typedef enum qep_json_kind { QEP_JSON_NULL, QEP_JSON_BOOL, QEP_JSON_INT, QEP_JSON_REAL, QEP_JSON_STRING, QEP_JSON_ARRAY, QEP_JSON_OBJECT } qep_json_kind;

/* source: name for messages (file). Error text: source, line, column, what. st: status to return when the text is wrong. */
QEP_MUST_CHECK qep_status qep_json_parse(const char *text, int64_t bytes, const char *source, qep_status st, qep_json **out);
/* The same with every number read as a real: for files that hold integers beyond 64 bits (transformers writes model_max_length = 10^30). */
QEP_MUST_CHECK qep_status qep_json_parse_reals(const char *text, int64_t bytes, const char *source, qep_status st, qep_json **out);
QEP_MUST_CHECK qep_status qep_json_load(const char *path, qep_status st, qep_json **out); /* st also when missing */
void qep_json_free(qep_json **j); /* the document or a built value; sets NULL; NULL allowed */

qep_json_kind qep_json_type(const qep_json *j); /* NULL: QEP_JSON_NULL */
bool qep_json_is_number(const qep_json *j);
int64_t qep_json_int(const qep_json *j);      /* 0 when not a number; reals are truncated */
double qep_json_real(const qep_json *j);
bool qep_json_bool(const qep_json *j);
const char *qep_json_string(const qep_json *j); /* NULL when not a string */
int64_t qep_json_size(const qep_json *j);       /* of array or object; 0 otherwise */
qep_json *qep_json_at(const qep_json *array, int64_t i);
qep_json *qep_json_get(const qep_json *object, const char *key); /* NULL when absent or not an object */
/* Members in file order: start with it = NULL; returns NULL at the end. */
void *qep_json_next(const qep_json *object, void *it, const char **key, qep_json **value);

/* Builders: the caller owns the new value until it is put into another, which takes it. */
qep_json *qep_json_new_object(void);
qep_json *qep_json_new_array(void);
qep_json *qep_json_new_int(int64_t v);
qep_json *qep_json_new_real(double v); /* not finite: null */
qep_json *qep_json_new_bool(bool v);
qep_json *qep_json_new_null(void);
qep_json *qep_json_new_string(const char *utf8);
bool qep_json_is_text(const char *s); /* UTF-8, as keys must be */
qep_json *qep_json_copy(const qep_json *j); /* deep */
void qep_json_set(qep_json *object, const char *key, qep_json *value /* [take] */); /* replaces */
void qep_json_remove(qep_json *object, const char *key);
void qep_json_append(qep_json *array, qep_json *value /* [take] */);
char *qep_json_text(const qep_json *j, bool pretty); /* qep_free; reals in the shortest form that reads back exactly */

#endif
