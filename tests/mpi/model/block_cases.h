/* Block and head: what the windows hold after loading, putting and sharing, and what advance makes
 * of it. Included by test_block.c and test_block_nodes.c.
 * SPDX-License-Identifier: Apache-2.0 */
#include "toy_model.h"
#include "../../../src/model/model_priv.h" /* the weights inside a block */

static qep_comm *world;
static const qep_compute computes[2] = {QEP_COMPUTE_F32, QEP_COMPUTE_BF16};

static qep_model *open_toy(const toy_edit *e, char **dir)
{
    qep_model *m = NULL;
    *dir = toy_write_all(world, e);
    assert_ok(qep_model_open_all(world, *dir, &m));
    return m;
}

/* Row `row` of a weight as f32 into out[cols]. */
static void weight_row(const qep_weight *w, int64_t row, float *out)
{
    const char *data = (const char *)qep_window_data(w->window) + w->offset;
    qep_to_f32(out, data + row * w->cols * qep_dtype_size(w->type), w->type, w->cols);
}

/* What the quantized stream is given: depends on place only. */
static float new_value(int role, int64_t row, int64_t col)
{
    return (float)(role + 1) * 0.01f + (float)((row * 31 + col * 7) % 64 - 32) * 0.03125f;
}

static float rounded(float v, qep_dtype type)
{
    return type == QEP_BF16 ? qep_bf16_to_f32(qep_f32_to_bf16(v)) : v;
}

/* The weight holds the tensor's values in its own type. */
static bool holds_tensor(const qep_model *m, const qep_weight *w, const qep_st_tensor *t)
{
    float have[64], want[64];
    for (int64_t r = 0; r < w->rows; r++) {
        assert_ok(qep_st_read_rows_f32(m->files, t, r, 1, want));
        weight_row(w, r, have);
        for (int64_t c = 0; c < w->cols; c++) {
            if (have[c] != rounded(want[c], w->type)) return false;
        }
    }
    return true;
}

static bool holds_new_values(const qep_weight *w, int role)
{
    float have[64];
    for (int64_t r = 0; r < w->rows; r++) {
        weight_row(w, r, have);
        for (int64_t c = 0; c < w->cols; c++) {
            if (have[c] != rounded(new_value(role, r, c), w->type)) return false;
        }
    }
    return true;
}

/* Rows of my part, put and shared. parts: ranks that take rows (the others none). */
static void put_and_share(qep_block *b, int role, int parts)
{
    const qep_linear_shape *l = &b->model->arch.linears[role];
    const int ranks = qep_size(world), me = qep_rank(world);
    int64_t *begin = qep_alloc("test", ranks, sizeof *begin),
            *count = qep_alloc("test", ranks, sizeof *count);
    for (int r = 0; r < parts; r++) qep_partition(l->rows, parts, r, &begin[r], &count[r]);
    float *values = qep_alloc("test", count[me] * l->cols, sizeof *values);
    for (int64_t i = 0; i < count[me] * l->cols; i++)
        values[i] = new_value(role, begin[me] + i / l->cols, i % l->cols);
    qep_block_put_rows(b, (qep_role)role, begin[me], count[me], values);
    qep_block_share_all(b, (qep_role)role, begin, count);
    qep_free(values);
    qep_free(begin);
    qep_free(count);
}

static void check_windows(qep_dtype stored, qep_compute compute)
{
    char *dir;
    qep_model *m = open_toy(&(toy_edit){.dtype = stored, .bias = true}, &dir);
    qep_block *b = qep_block_create_all(world, m, compute, true);
    float want[64];
    assert_int_equal(qep_block_index(b), -1);
    for (int64_t index = TOY_BLOCKS - 1; index >= 0; index--) {
        assert_ok(qep_block_load_all(b, index));
        assert_int_equal(qep_block_index(b), index);
        for (int r = 0; r < QEP_N_ROLES; r++) {
            const qep_st_tensor *t = qep_model_linear_tensor(m, index, (qep_role)r, "weight");
            const qep_st_tensor *bias = qep_model_linear_tensor(m, index, (qep_role)r, "bias");
            assert_all(world, holds_tensor(m, &b->linears[QEP_STREAM_FP][r], t));
            assert_all(world, holds_tensor(m, &b->linears[QEP_STREAM_Q][r], t));
            assert_ok(qep_st_read_rows_f32(m->files, bias, 0, bias->shape[0], want));
            assert_all(world,
                       memcmp(b->biases[r], want, (size_t)bias->shape[0] * sizeof *want) == 0);
        }
        for (int r = 0; r < QEP_N_ROLES; r++) {
            put_and_share(b, r, r % 2 ? 1 : qep_size(world));
            const qep_st_tensor *t = qep_model_linear_tensor(m, index, (qep_role)r, "weight");
            assert_all(world, holds_new_values(&b->linears[QEP_STREAM_Q][r], r));
            assert_all(world, holds_tensor(m, &b->linears[QEP_STREAM_FP][r], t));
        }
    }
    qep_block_destroy_all(&b);
    assert_null(b);
    qep_model_close(&m);
    toy_remove_all(world, dir);
}

static void test_windows(void **state)
{
    (void)state;
    const int64_t before = qep_mem_now();
    check_windows(QEP_F32, QEP_COMPUTE_F32);
    check_windows(QEP_F32, QEP_COMPUTE_BF16);
    check_windows(QEP_F16, QEP_COMPUTE_F32);
    check_windows(QEP_BF16, QEP_COMPUTE_BF16);
    assert_int_equal(qep_mem_now(), before);
}

/* A read that fails on one rank fails on all, and the block can be loaded again. */
static void test_read_fault(void **state)
{
    (void)state;
    char *dir, fault[64];
    qep_model *m = open_toy(&(toy_edit){.dtype = QEP_F32}, &dir);
    qep_block *b = qep_block_create_all(world, m, QEP_COMPUTE_F32, true);
    snprintf(fault, sizeof fault, "safetensors.read:3@%d", qep_size(world) - 1);
    setenv("QEP_FAULT", fault, 1);
    qep_fault_init(qep_rank(world));
    const qep_status st = qep_block_load_all(b, 0);
    unsetenv("QEP_FAULT");
    qep_fault_init(qep_rank(world));
    assert_fails(st, QEP_E_IO, "model.layers.0.");
    assert_int_equal(qep_block_index(b), -1);
    assert_ok(qep_block_load_all(b, 0));
    qep_block_destroy_all(&b);
    qep_model_close(&m);
    toy_remove_all(world, dir);
}

static float *random_values(int64_t n, uint64_t seed)
{
    qep_rng r;
    float *x = qep_alloc("test", n, sizeof *x);
    qep_rng_seed(&r, seed);
    for (int64_t i = 0; i < n; i++) x[i] = (float)qep_rng_normal(&r);
    return x;
}

/* One call of advance on T random tokens; s: 0 fp alone, 1 q alone, 2 both. Inputs depend on g
 * only. */
typedef struct outcome {
    float *x[2], *act[2];
    qep_out_error err[QEP_MAX_MEMBERS];
} outcome;

static outcome advance(const qep_block *b, int g, int64_t T, int s)
{
    const qep_arch *a = &b->model->arch;
    const int64_t cols = qep_group_cols(a, g), act = qep_group_act_cols(a, g);
    float *in[2] = {random_values(T * cols, 11u + (unsigned)g),
                    random_values(T * cols, 21u + (unsigned)g)};
    outcome o = {.err = {{0.5, 0.25}, {0.5, 0.25}, {0.5, 0.25}}};
    for (int k = 0; k < 2; k++) {
        o.x[k] = random_values(T * a->hidden, 31u + (unsigned)k);
        o.act[k] = random_values(T * act, 41u + (unsigned)k);
    }
    qep_work *w = qep_work_create(a, b->compute, T + 3);
    qep_block_advance(b, g, T, s != 1 ? in[0] : NULL, s != 0 ? in[1] : NULL, act ? NULL : o.x[0],
                      act ? NULL : o.x[1], act ? o.act[0] : NULL, act ? o.act[1] : NULL, o.err, w);
    qep_work_destroy(&w);
    for (int k = 0; k < 2; k++) qep_free(in[k]);
    return o;
}

static void free_outcome(outcome *o)
{
    for (int k = 0; k < 2; k++) {
        qep_free(o->x[k]);
        qep_free(o->act[k]);
    }
}

/* Stream k is the same in both. */
static void same_stream(const qep_arch *a, int g, int64_t T, const outcome *p, const outcome *q,
                        int k)
{
    assert_memory_equal(p->x[k], q->x[k], (size_t)(T * a->hidden) * sizeof(float));
    assert_memory_equal(p->act[k], q->act[k],
                        (size_t)(T * qep_group_act_cols(a, g)) * sizeof(float));
}

/* y = x w^T of one token in f64, x rounded as the product rounds it. */
static double dot(const float *w, const float *x, int64_t n, qep_dtype type)
{
    double sum = 0.0;
    for (int64_t c = 0; c < n; c++) sum += (double)w[c] * (double)rounded(x[c], type);
    return sum;
}

/* The error sums of a group against plain f64 loops. */
static void check_errors(const qep_block *b, int g, int64_t T, const qep_out_error *err)
{
    const qep_arch *a = &b->model->arch;
    const int64_t cols = qep_group_cols(a, g);
    float *fp = random_values(T * cols, 11u + (unsigned)g),
          *q = random_values(T * cols, 21u + (unsigned)g);
    float row[2][64];
    for (int i = 0; i < a->group_count[g]; i++) {
        const int role = a->group_first[g] + i;
        double diff = 0.5, ref = 0.25;
        for (int64_t o = 0; o < a->linears[role].rows; o++) {
            for (int s = 0; s < 2; s++) weight_row(&b->linears[s][role], o, row[s]);
            for (int64_t t = 0; t < T; t++) {
                const double y = dot(row[0], fp + t * cols, cols, b->linears[0][role].type);
                const double yq = dot(row[1], q + t * cols, cols, b->linears[0][role].type);
                diff += (y - yq) * (y - yq);
                ref += y * y;
            }
        }
        assert_le_f(fabs(err[i].diff - diff), 1e-5 * diff);
        assert_le_f(fabs(err[i].ref - ref), 1e-5 * ref);
    }
    qep_free(fp);
    qep_free(q);
}

static void check_advance(const qep_block *b, int g, int64_t T)
{
    const qep_arch *a = &b->model->arch;
    outcome fp = advance(b, g, T, 0), q = advance(b, g, T, 1), both = advance(b, g, T, 2);
    same_stream(a, g, T, &fp, &both, 0);
    same_stream(a, g, T, &q, &both, 1);
    for (int i = 0; i < QEP_MAX_MEMBERS; i++) {
        assert_true(fp.err[i].diff == 0.5 && fp.err[i].ref == 0.25);
        assert_true(q.err[i].diff == 0.5 && q.err[i].ref == 0.25);
        if (i >= a->group_count[g]) assert_true(both.err[i].diff == 0.5);
    }
    check_errors(b, g, T, both.err);
    qep_linalg_start(3);
    outcome threads = advance(b, g, T, 2);
    qep_linalg_start(1);
    for (int k = 0; k < 2; k++) same_stream(a, g, T, &threads, &both, k);
    assert_memory_equal(threads.err, both.err, sizeof both.err);
    uint64_t mine =
        qep_hash64(both.act[1], (size_t)(T * qep_group_act_cols(a, g)) * sizeof(float), 1);
    mine = qep_hash64(both.x[1], (size_t)(T * a->hidden) * sizeof(float), mine);
    uint64_t root = mine;
    qep_bcast_all(world, 0, &root, sizeof root);
    assert_all(world, root == mine);
    outcome *const all[] = {&fp, &q, &both, &threads};
    for (int i = 0; i < 4; i++) free_outcome(all[i]);
}

static void test_advance(void **state)
{
    (void)state;
    static const int64_t lengths[] = {1, 2, 37, 512, 513};
    char *dir;
    qep_linalg_start(1);
    qep_model *m = open_toy(&(toy_edit){.dtype = QEP_F32, .bias = true}, &dir);
    for (int k = 0; k < 2; k++) {
        qep_block *b = qep_block_create_all(world, m, computes[k], true);
        assert_ok(qep_block_load_all(b, 1));
        for (int r = 0; r < QEP_N_ROLES; r++) put_and_share(b, r, qep_size(world));
        for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
            for (int g = 0; g < QEP_N_GROUPS; g++) check_advance(b, g, lengths[i]);
        }
        qep_block_destroy_all(&b);
    }
    qep_model_close(&m);
    toy_remove_all(world, dir);
}

/* A tile of tokens is as good as the whole sequence: token t of groups 1 to 3 does not depend on
 * the others. */
static void test_tiles(void **state)
{
    (void)state;
    char *dir;
    const int64_t T = 1030, cols = TOY_INTER, one = 700;
    qep_model *m = open_toy(&(toy_edit){.dtype = QEP_F32}, &dir);
    qep_block *b = qep_block_create_all(world, m, QEP_COMPUTE_F32, false);
    assert_ok(qep_block_load_all(b, 0));
    float *in = random_values(T * cols, 5), *x = qep_alloc("test", T * TOY_HIDDEN, sizeof *x),
          row[64];
    qep_work *w = qep_work_create(&m->arch, QEP_COMPUTE_F32, T);
    qep_block_advance(b, 3, T, in, NULL, x, NULL, NULL, NULL, NULL, w);
    for (int64_t o = 0; o < TOY_HIDDEN; o++) {
        weight_row(&b->linears[0][QEP_ROLE_DOWN], o, row);
        assert_le_f(
            fabs((double)x[one * TOY_HIDDEN + o] - dot(row, in + one * cols, cols, QEP_F32)), 1e-5);
        assert_le_f(fabs((double)x[(T - 1) * TOY_HIDDEN + o] -
                         dot(row, in + (T - 1) * cols, cols, QEP_F32)),
                    1e-5);
    }
    qep_work_destroy(&w);
    qep_free(in);
    qep_free(x);
    qep_block_destroy_all(&b);
    qep_model_close(&m);
    toy_remove_all(world, dir);
}

/* logits of the row of ones */
static void ones_logits(const qep_head *h, qep_stream s, float *logits, qep_work *w)
{
    float ones[TOY_HIDDEN];
    for (int i = 0; i < TOY_HIDDEN; i++) ones[i] = 1.0f;
    qep_head_logits(h, s, ones, 1, logits, w);
}

static void check_head(const qep_model *m, qep_compute compute)
{
    qep_head *h = NULL;
    assert_ok(qep_head_load_all(world, m, compute, true, &h));
    qep_work *w = qep_work_create(&m->arch, compute, 1);
    float fp[TOY_VOCAB], q[TOY_VOCAB], row[TOY_HIDDEN];
    ones_logits(h, QEP_STREAM_FP, fp, w);
    ones_logits(h, QEP_STREAM_Q, q, w);
    assert_memory_equal(fp, q, sizeof fp);
    for (int r = 0; r < TOY_VOCAB; r++) {
        double sum = 0.0;
        assert_ok(qep_st_read_rows_f32(m->files, m->lm_head, r, 1, row));
        for (int c = 0; c < TOY_HIDDEN; c++)
            sum += (double)rounded(row[c], qep_compute_dtype(compute));
        assert_le_f(fabs((double)fp[r] - sum), 1e-5);
    }
    const int ranks = qep_size(world), me = qep_rank(world);
    int64_t *begin = qep_alloc("test", ranks, sizeof *begin),
            *count = qep_alloc("test", ranks, sizeof *count);
    for (int r = 0; r < ranks; r++) qep_partition(TOY_VOCAB, ranks, r, &begin[r], &count[r]);
    float *values = qep_alloc("test", count[me] * TOY_HIDDEN, sizeof *values);
    for (int64_t i = 0; i < count[me] * TOY_HIDDEN; i++)
        values[i] = (float)(begin[me] + i / TOY_HIDDEN);
    qep_barrier_all(world); /* nobody of my node reads the head any more */
    qep_head_put_rows(h, begin[me], count[me], values);
    qep_head_share_all(h, begin, count);
    float again[TOY_VOCAB];
    ones_logits(h, QEP_STREAM_FP, again, w);
    ones_logits(h, QEP_STREAM_Q, q, w);
    assert_memory_equal(fp, again, sizeof fp);
    for (int r = 0; r < TOY_VOCAB; r++) assert_all(world, q[r] == (float)(r * TOY_HIDDEN));
    qep_free(values);
    qep_free(begin);
    qep_free(count);
    qep_work_destroy(&w);
    qep_head_destroy_all(&h);
}

static void test_head(void **state)
{
    (void)state;
    char *dir;
    qep_model *m = open_toy(&(toy_edit){.dtype = QEP_F32}, &dir);
    for (int k = 0; k < 2; k++) check_head(m, computes[k]);
    qep_model_close(&m);
    toy_remove_all(world, dir);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_windows), cmocka_unit_test(test_read_fault),
    cmocka_unit_test(test_advance), cmocka_unit_test(test_tiles),
    cmocka_unit_test(test_head),
};
QEP_TEST_MAIN_MPI(tests)
