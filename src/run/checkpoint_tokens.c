/* The tokens of a run in its checkpoint, for people and tools (h5dump): the hash of all ids as an attribute of the file, the sequences and
 * the documents of the calibration files as small tables. A resumed run compares the sequences with its own.
 * SPDX-License-Identifier: Apache-2.0 */
#include "run_priv.h"

#include <inttypes.h>

enum { KIND, FILE_OR_SET, ROW, FIRST, LENGTH, COLUMNS };

static const char table_text[] = "a row per sequence: kind (0 calibration, 1 validation, 2 evaluation, 3 task), number of its file, set or task in the settings, "
                                 "document or row, first token, tokens";

static void fill(int64_t *to, const qep_seq *q)
{
    to[KIND] = (int64_t)q->kind;
    to[FILE_OR_SET] = q->set;
    to[ROW] = q->row;
    to[FIRST] = q->first;
    to[LENGTH] = q->length;
}

qep_status qep_run_put_tokens_all(qep_run *r, qep_store *s)
{
    const qep_corpus *k = r->corpus;
    const int64_t files = r->cfg->n_calibration_data, root = qep_rank(r->comm) == 0;
    char hex[40];
    int64_t begin, count;
    qep_partition(k->n, qep_size(r->comm), qep_rank(r->comm), &begin, &count);
    int64_t *table = qep_alloc("run.sequences", count * COLUMNS, sizeof *table);
    for (int64_t i = 0; i < count; i++) fill(table + i * COLUMNS, &k->seqs[begin + i]);
    snprintf(hex, sizeof hex, "%016" PRIx64 "%016" PRIx64, k->digest[0], k->digest[1]);
    qep_status st = qep_store_put_note_all(s, "token ids", hex);
    if (st == QEP_OK) st = qep_store_put_all(s, "sequences", table_text, "1", QEP_I64, k->n, COLUMNS, begin, count, table);
    if (st == QEP_OK)
        st = qep_store_put_all(s, "documents", "documents of each calibration file, 0: it holds token ids", "1", QEP_I64, files, 1, root ? 0 : files,
                               root ? files : 0, k->documents);
    qep_free(table);
    return st;
}

/* The ids are the same (identity.c), but may lie elsewhere now, in a file that was edited in front of them. */
static qep_status compare_all(qep_run *r, const int64_t *table, int64_t begin, int64_t count)
{
    int64_t wrong = 0, moved = 0;
    for (int64_t i = 0; i < count; i++) {
        int64_t mine[COLUMNS];
        const int64_t *saved = table + i * COLUMNS;
        fill(mine, &r->corpus->seqs[begin + i]);
        wrong += saved[KIND] != mine[KIND] || saved[LENGTH] != mine[LENGTH];
        moved += saved[FILE_OR_SET] != mine[FILE_OR_SET] || saved[ROW] != mine[ROW] || saved[FIRST] != mine[FIRST];
    }
    qep_sum_i64_all(r->comm, &wrong, 1);
    qep_sum_i64_all(r->comm, &moved, 1);
    if (wrong > 0) return qep_fail(QEP_E_CHECKPOINT, "%s: %" PRId64 " of its sequences have another kind or length than those of this run", r->checkpoint, wrong);
    if (moved > 0) qep_info("%" PRId64 " of %" PRId64 " sequences come from other places than before, with the same token ids", moved, r->corpus->n);
    return QEP_OK;
}

qep_status qep_run_check_tokens_all(qep_run *r, qep_store *s)
{
    int64_t begin, count;
    qep_partition(r->corpus->n, qep_size(r->comm), qep_rank(r->comm), &begin, &count);
    int64_t *table = qep_alloc("run.sequences", count * COLUMNS, sizeof *table);
    qep_status st = qep_store_get_all(s, "sequences", QEP_I64, r->corpus->n, COLUMNS, begin, count, table);
    if (st == QEP_OK) st = compare_all(r, table, begin, count);
    qep_free(table);
    return st;
}
