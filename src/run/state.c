/* Progress as JSON text, for the checkpoint: numbers are written so that they read back exactly.
 * SPDX-License-Identifier: Apache-2.0 */
#include "run_priv.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double unknown = (double)NAN;

/* Entries of growth for `blocks` blocks. */
static int64_t growth_size(int64_t blocks)
{
    return blocks * QEP_N_SEQ_KINDS * 2;
}

static qep_json *hex(uint64_t v)
{
    char text[20];
    snprintf(text, sizeof text, "%016" PRIx64, v);
    return qep_json_new_string(text);
}

static qep_json *errors_json(const qep_errors *e)
{
    qep_json *o = qep_json_new_object();
    qep_json_set(o, "uncorrected", qep_json_new_real(e->uncorrected));
    qep_json_set(o, "before", qep_json_new_real(e->before));
    qep_json_set(o, "corrected", qep_json_new_real(e->corrected));
    qep_json_set(o, "after", qep_json_new_real(e->after));
    return o;
}

static qep_json *record_json(const qep_record *rec)
{
    qep_json *o = qep_json_new_object();
    const qep_layer_record *l = &rec->layer;
    qep_json_set(o, "alpha", qep_json_new_real(l->alpha));
    qep_json_set(o, "correction_damping", qep_json_new_real(l->correction_damping));
    qep_json_set(o, "damping", qep_json_new_real(l->damping));
    qep_json_set(o, "attempts", qep_json_new_int(l->attempts));
    qep_json_set(o, "fallback", qep_json_new_bool(l->fallback));
    qep_json_set(o, "n_dead", qep_json_new_int(l->n_dead));
    qep_json_set(o, "max_scale", qep_json_new_real(l->max_scale));
    qep_json_set(o, "scale_ratio", qep_json_new_real(l->scale_ratio));
    qep_json_set(o, "seconds", qep_json_new_real(l->seconds));
    qep_json_set(o, "tokens", qep_json_new_int(rec->tokens));
    qep_json_set(o, "borrowed", qep_json_new_real(rec->borrowed));
    qep_json_set(o, "residual", qep_json_new_real(l->residual));
    qep_json_set(o, "error", errors_json(&rec->error));
    qep_json_set(o, "held", errors_json(&rec->held));
    return o;
}

char *qep_run_state_text(const qep_run *r, const uint64_t digest[2])
{
    qep_json *o = qep_json_new_object(), *records = qep_json_new_array(), *growth = qep_json_new_array();
    qep_json_set(o, "next_block", qep_json_new_int(r->next_block));
    qep_json_set(o, "digest0", hex(digest[0]));
    qep_json_set(o, "digest1", hex(digest[1]));
    qep_json_set(o, "seconds", qep_json_new_real(r->seconds_before + qep_now_s() - r->start_s));
    qep_json_set(o, "machine", qep_json_new_string(qep_linalg_describe()));
    qep_json_set(o, "version", qep_json_new_string(qep_version));
    for (int64_t i = 0; i < growth_size(r->next_block); i++) qep_json_append(growth, qep_json_new_real(r->growth[i]));
    for (int64_t i = 0; i < r->n_linears; i++)
        qep_json_append(records, r->records[i].done ? record_json(&r->records[i]) : qep_json_new_null());
    qep_json_set(o, "growth", growth);
    qep_json_set(o, "records", records);
    char *text = qep_json_text(o, true);
    qep_json_free(&o);
    return text;
}

/* null stands for "not known". */
static double number(const qep_json *o, const char *key)
{
    const qep_json *v = qep_json_get(o, key);
    return v && qep_json_is_number(v) ? qep_json_real(v) : unknown;
}

static qep_errors read_errors(const qep_json *o)
{
    return (qep_errors){number(o, "uncorrected"), number(o, "before"), number(o, "corrected"), number(o, "after")};
}

static void read_record(const qep_json *o, qep_record *rec)
{
    *rec = (qep_record){.done = true,
                        .error = read_errors(qep_json_get(o, "error")),
                        .held = read_errors(qep_json_get(o, "held")),
                        .tokens = qep_json_int(qep_json_get(o, "tokens")),
                        .borrowed = number(o, "borrowed"),
                        .layer = {.alpha = number(o, "alpha"),
                                  .correction_damping = number(o, "correction_damping"),
                                  .damping = number(o, "damping"),
                                  .attempts = (int)qep_json_int(qep_json_get(o, "attempts")),
                                  .fallback = qep_json_bool(qep_json_get(o, "fallback")),
                                  .n_dead = qep_json_int(qep_json_get(o, "n_dead")),
                                  .residual = number(o, "residual"),
                                  .max_scale = number(o, "max_scale"),
                                  .scale_ratio = number(o, "scale_ratio"),
                                  .seconds = number(o, "seconds")}};
}

static uint64_t read_hex(const qep_json *o, const char *key)
{
    const char *text = qep_json_string(qep_json_get(o, key));
    return text ? strtoull(text, NULL, 16) : 0;
}

static bool is_array(const qep_json *j, int64_t n)
{
    return qep_json_type(j) == QEP_JSON_ARRAY && qep_json_size(j) == n;
}

qep_status qep_run_state_parse(qep_run *r, const char *text)
{
    qep_json *o = NULL;
    QEP_TRY(qep_json_parse(text, (int64_t)strlen(text), r->checkpoint, QEP_E_CHECKPOINT, &o));
    const qep_json *records = qep_json_get(o, "records"), *growth = qep_json_get(o, "growth");
    int64_t next = qep_json_int(qep_json_get(o, "next_block"));
    qep_status st = QEP_OK;
    if (next < 0 || next > r->model->arch.n_blocks || !is_array(records, r->n_linears) || !is_array(growth, growth_size(next))) {
        st = qep_fail(QEP_E_CHECKPOINT, "%s: its record of progress does not fit this model", r->checkpoint);
        goto done;
    }
    r->next_block = next;
    r->digest_base[0] = read_hex(o, "digest0");
    r->digest_base[1] = read_hex(o, "digest1");
    r->seconds_before = number(o, "seconds");
    for (int64_t i = 0; i < growth_size(next); i++) r->growth[i] = qep_json_real(qep_json_at(growth, i));
    for (int64_t i = 0; i < r->n_linears; i++) {
        const qep_json *rec = qep_json_at(records, i);
        if (qep_json_type(rec) == QEP_JSON_OBJECT) read_record(rec, &r->records[i]);
    }
    const char *machine = qep_json_string(qep_json_get(o, "machine"));
    if (machine && strcmp(machine, qep_linalg_describe()) != 0)
        qep_warn("the checkpoint was made with other libraries or another CPU; the result may differ in single bits\n"
                 "  then: %s\n  now:  %s", machine, qep_linalg_describe());
done:
    qep_json_free(&o);
    return st;
}

void qep_run_total_digest_all(qep_run *r, uint64_t total[2])
{
    total[0] = r->digest[0];
    total[1] = r->digest[1];
    qep_sum_u64_all(r->comm, total, 2);
    total[0] += r->digest_base[0];
    total[1] += r->digest_base[1];
}
