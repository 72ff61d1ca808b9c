/* Saving and resuming: both residual streams as global arrays of tokens, and the progress as text. The output's .partial files are
 * durable before a checkpoint that counts on them is sealed. SPDX-License-Identifier: Apache-2.0 */
#include "run_priv.h"

#include <string.h>

enum { MAX_SLABS = 2 * QEP_N_SEQ_KINDS };

/* One stream of one kind of sequences: where my rows lie. */
typedef struct slab {
    char name[32];
    int64_t rows, row0, n;
    float *data;
} slab;

/* Up to MAX_SLABS; empty kinds and absent streams are left out. */
static int list_slabs(const qep_run *r, slab *out)
{
    int n = 0;
    int64_t d = r->model->arch.hidden, first = 0, next = 0;
    for (int kind = 0; kind < QEP_N_SEQ_KINDS; kind++) {
        const qep_corpus_part *p = &r->corpus->part[kind];
        first = next;
        next += p->tokens;
        if (p->total_tokens == 0) continue;
        for (int s = 0; s < 2; s++) {
            float *x = s == 0 ? r->x_fp : r->x_q;
            if (!x) continue;
            slab *b = &out[n++];
            snprintf(b->name, sizeof b->name, "%s.%s", qep_seq_kind_name((qep_seq_kind)kind), s == 0 ? "fp" : "q");
            b->rows = p->total_tokens;
            b->row0 = p->token_begin;
            b->n = p->tokens;
            b->data = x + first * d;
        }
    }
    return n;
}

static qep_status put_all(qep_run *r, qep_store *s, const uint64_t digest[2])
{
    slab slabs[MAX_SLABS];
    int n = list_slabs(r, slabs);
    char *state = qep_run_state_text(r, digest);
    qep_status st;
    QEP_GO(st, qep_store_put_text_all(s, "identity", "what the result depends on", r->identity));
    QEP_GO(st, qep_store_put_text_all(s, "state", "progress and records, JSON", state));
    QEP_GO(st, qep_run_put_tokens_all(r, s));
    for (int i = 0; i < n; i++)
        QEP_GO(st, qep_store_put_all(s, slabs[i].name, "residual stream, one row per token", "1", QEP_F32, slabs[i].rows,
                                     r->model->arch.hidden, slabs[i].row0, slabs[i].n, slabs[i].data));
done:
    qep_free(state);
    return st;
}

qep_status qep_run_save_all(qep_run *r)
{
    qep_timing t0 = qep_phase_begin(QEP_PHASE_CHECKPOINT);
    qep_store *s = NULL;
    uint64_t digest[2];
    qep_status st = QEP_OK;
    qep_run_total_digest_all(r, digest);
    qep_part_begin("sync");
    if (r->output) QEP_GO(st, qep_agree_all(r->comm, qep_export_sync(r->output)));
    qep_part_end();
    QEP_GO(st, qep_run_write_csv_all(r, false));
    qep_part_begin("streams");
    QEP_GO(st, qep_store_create_all(r->comm, r->checkpoint, &s));
    QEP_GO(st, put_all(r, s, digest));
    qep_part_end();
    qep_part_begin("seal");
    st = qep_store_seal_all(&s, (int)r->cfg->checkpoint_keep);
    qep_part_end();
done:
    qep_store_close_all(&s);
    qep_phase_end(r, QEP_PHASE_CHECKPOINT, &t0);
    if (st == QEP_OK) qep_debug("checkpoint written after block %lld", (long long)r->next_block);
    return st;
}

/* Reads one file. *differs: it is sound but belongs to another run. */
static qep_status load_all(qep_run *r, const char *path, bool *differs)
{
    slab slabs[MAX_SLABS];
    int n = list_slabs(r, slabs);
    qep_store *s = NULL;
    char *identity = NULL, *state = NULL;
    qep_status st;
    QEP_GO(st, qep_store_open_all(r->comm, path, &s));
    QEP_GO(st, qep_store_get_text_all(s, "identity", &identity));
    st = qep_run_identity_compare(r, identity);
    *differs = st != QEP_OK;
    if (*differs) goto done;
    QEP_GO(st, qep_run_check_tokens_all(r, s));
    QEP_GO(st, qep_store_get_text_all(s, "state", &state));
    for (int i = 0; i < n; i++)
        QEP_GO(st, qep_store_get_all(s, slabs[i].name, QEP_F32, slabs[i].rows, r->model->arch.hidden, slabs[i].row0, slabs[i].n,
                                     slabs[i].data));
    st = qep_run_state_parse(r, state);
done:
    qep_free(state);
    qep_free(identity);
    qep_store_close_all(&s);
    return st;
}

static bool exists_all(qep_comm *c, const char *path)
{
    return qep_any_all(c, qep_rank(c) == 0 && qep_file_exists(path));
}

/* The newest generation that is sound; an older one when the newest is damaged. */
static qep_status load_newest_all(qep_run *r, const char *prev, bool have, bool have_prev, bool *resumed)
{
    bool differs = false;
    qep_status st = QEP_OK;
    if (have) {
        st = load_all(r, r->checkpoint, &differs);
        *resumed = st == QEP_OK;
        if (*resumed || differs) return st;
        qep_warn("checkpoint %s cannot be used: %s", r->checkpoint, qep_error_text());
    }
    if (have_prev) {
        st = load_all(r, prev, &differs);
        *resumed = st == QEP_OK;
        if (*resumed) qep_warn("going on from the previous checkpoint %s", prev);
        if (*resumed) return qep_store_take_previous_all(r->comm, r->checkpoint); /* a damaged file must not push the good one out */
        if (differs) return st;
    }
    if (st != QEP_OK)
        qep_context(st, "no usable checkpoint; start anew with --restart no (discards it)");
    return st == QEP_E_IO ? qep_fail(QEP_E_CHECKPOINT, "%s", qep_error_text()) : st;
}

qep_status qep_run_demand_checkpoint_all(qep_run *r)
{
    if (r->args.restart != QEP_RESTART_YES) return QEP_OK;
    char *prev = qep_strf("run.checkpoint", "%s.prev", r->checkpoint);
    const bool have = exists_all(r->comm, r->checkpoint) || exists_all(r->comm, prev);
    qep_free(prev);
    return have ? QEP_OK : qep_fail(QEP_E_CHECKPOINT, "--restart yes, but there is no checkpoint %s", r->checkpoint);
}

qep_status qep_run_resume_all(qep_run *r, bool *resumed)
{
    *resumed = false;
    char *prev = qep_strf("run.checkpoint", "%s.prev", r->checkpoint);
    bool have = exists_all(r->comm, r->checkpoint), have_prev = exists_all(r->comm, prev);
    qep_status st = QEP_OK;
    if (r->args.restart == QEP_RESTART_NO)
        st = qep_store_remove_all(r->comm, r->checkpoint);
    else if (have || have_prev)
        st = load_newest_all(r, prev, have, have_prev, resumed);
    else
        st = qep_run_demand_checkpoint_all(r);
    qep_free(prev);
    return st;
}

/* The file with this ending tells that it is of this run; *readable: it tells at all. */
static bool is_mine_all(qep_run *r, const char *ending, bool *readable)
{
    char *path = qep_strf("run.checkpoint", "%s%s", r->checkpoint, ending), *identity = NULL;
    qep_store *s = NULL;
    qep_status st = qep_store_open_all(r->comm, path, &s);
    if (st == QEP_OK) st = qep_store_get_text_all(s, "identity", &identity);
    *readable = st == QEP_OK;
    bool mine = *readable && strcmp(identity, r->identity) == 0;
    if (!*readable) qep_error_clear();
    qep_free(identity);
    qep_store_close_all(&s);
    qep_free(path);
    return mine;
}

bool qep_run_has_checkpoint_all(qep_run *r)
{
    static const char *const endings[] = {"", ".prev", ".tmp"};
    bool any = false;
    for (int i = 0; i < 3 && !any; i++) {
        char *path = qep_strf("run.checkpoint", "%s%s", r->checkpoint, endings[i]);
        any = exists_all(r->comm, path);
        qep_free(path);
    }
    return any;
}

bool qep_run_owns_checkpoint_all(qep_run *r)
{
    bool readable = false, mine = is_mine_all(r, "", &readable);
    if (!readable) mine = is_mine_all(r, ".prev", &readable);
    if (readable) return mine;
    char *dir = qep_path_dir(r->checkpoint);
    mine = strcmp(dir, r->cfg->output_path) == 0;
    qep_free(dir);
    return mine;
}
