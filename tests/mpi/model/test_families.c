/* The forward pass against transformers: the golden models under $QEP_SHARED/golden/families (their
 * README.md says what is in golden.safetensors). Every rank runs all sequences; all ranks must get
 * the same bits.
 * SPDX-License-Identifier: Apache-2.0 */
#include "qep_test.h"
#include "../../../src/model/model_priv.h" /* the rotary tables of the work object */

static qep_comm *world;

/* Bounds on the error in units of the golden tensor's standard deviation. The golden values come
 * from f32 arithmetic on the stored weights: f32 differs by summation order only (measured 5e-6);
 * bf16 rounds the weights of the f32 and f16 models and the input of every linear to 8 bits
 * (measured: largest 5.1e-2, root mean square 9.8e-3). */
static const double bound_f32 = 1e-4, bound_bf16_max = 8e-2, bound_bf16_rms = 1.5e-2;

static const char *const families[] = {
    "llama",         "llama-tied-mha",         "llama-headdim-bias",
    "llama3-rope",   "llama3-rope-old-config", "llama-linear-rope",
    "llama-sharded", "mistral-window",         "qwen2",
    "qwen2-old-config", "qwen3",                 "phi3",
    "gemma2",        "gemma3",                 "olmo2",
    "mixtral",          "qwen3-moe",
};
enum { N_FAMILIES = sizeof families / sizeof families[0] };

/* Error of one stage against its golden tensor, relative to the standard deviation of the latter.
 */
typedef struct deviation {
    double max, rms;
} deviation;

typedef struct run {
    qep_model *model;
    qep_st_set *golden;
    qep_compute compute;
    int64_t n_seq, T;
    int32_t *ids;
    float *x, *xq; /* [n_seq, T, hidden] */
    float *in, *inq, *act, *actq;
    qep_block *block;
    qep_work *work;
    deviation worst; /* over all stages */
    uint64_t hash;
} run;

static char *family_dir(const char *name)
{
    const char *shared = getenv("QEP_SHARED");
    char *dir = qep_strf("test", "%s/golden/families/%s", shared ? shared : "../shared", name);
    const bool here = qep_dir_exists(dir);
    if (qep_any_all(world, !here)) {
        print_message("# skipped: no %s (set QEP_SHARED)\n", dir);
        qep_free(dir);
        skip();
    }
    return dir;
}

static const qep_st_tensor *golden_tensor(const run *r, const char *name)
{
    const qep_st_tensor *t = qep_st_find(r->golden, name);
    if (!t) fail_msg("golden.safetensors lacks %s", name);
    return t;
}

/* The golden models were made in f32 and cast to the checkpoint's type as a whole, and with them
 * the frequencies of the rotary embedding; models that transformers loads from disk keep those in
 * f32, and so do we. Without this the golden values of 16-bit models are off by up to 4e-2. */
static void round_frequencies(const qep_arch *a, qep_work *w)
{
    for (int k = 0; k < 1 + a->two_ropes; k++) {
        const qep_rotary *r = &w->rotary[k];
        const int64_t half = r->rope->dim / 2;
        float cos_[64], sin_[64];
        assert_true(half <= 64 && w->max_tokens > 1);
        memcpy(cos_, r->cos_ + half, (size_t)half * sizeof(float)); /* position 1: the frequencies themselves */
        memcpy(sin_, r->sin_ + half, (size_t)half * sizeof(float));
        for (int64_t i = 0; i < half; i++) {
            const float exact = (float)atan2((double)sin_[i], (double)cos_[i]);
            double stored = 0.0;
            float rounded;
            qep_from_f32(&stored, a->dtype, &exact, 1);
            qep_to_f32(&rounded, &stored, a->dtype, 1);
            for (int64_t t = 0; t < w->max_tokens; t++) {
                r->cos_[t * half + i] = (float)cos((double)t * (double)rounded);
                r->sin_[t * half + i] = (float)sin((double)t * (double)rounded);
            }
        }
    }
}

static void open_run(run *r, const char *dir, qep_compute compute)
{
    *r = (run){.compute = compute};
    char *file = qep_path_join(dir, "golden.safetensors");
    assert_ok(qep_model_open_all(world, dir, &r->model));
    assert_ok(qep_st_open_file(file, &r->golden));
    qep_free(file);
    const qep_arch *a = &r->model->arch;
    const qep_st_tensor *t = golden_tensor(r, "input_ids");
    r->n_seq = t->shape[0];
    r->T = t->shape[1];
    r->ids = qep_alloc("test", r->n_seq * r->T, sizeof *r->ids);
    assert_ok(qep_st_read(r->golden, t, 0, t->bytes, r->ids));
    const int64_t wide = qep_max_i64(a->inter, a->n_heads * a->head_dim);
    r->x = qep_alloc("test", r->n_seq * r->T * a->hidden, sizeof(float));
    r->xq = qep_alloc("test", r->n_seq * r->T * a->hidden, sizeof(float));
    r->in = qep_alloc("test", r->T * a->hidden, sizeof(float));
    r->inq = qep_alloc("test", r->T * a->hidden, sizeof(float));
    r->act = qep_alloc("test", r->T * wide, sizeof(float));
    r->actq = qep_alloc("test", r->T * wide, sizeof(float));
    r->work = qep_work_create(a, compute, r->T);
    round_frequencies(a, r->work);
    r->block = qep_block_create_all(world, r->model, compute, true);
}

static void close_run(run *r)
{
    qep_block_destroy_all(&r->block);
    qep_work_destroy(&r->work);
    float *const arrays[] = {r->x, r->xq, r->in, r->inq, r->act, r->actq};
    for (size_t i = 0; i < sizeof arrays / sizeof arrays[0]; i++) qep_free(arrays[i]);
    qep_free(r->ids);
    qep_st_close(&r->golden);
    qep_model_close(&r->model);
}

/* have: [n] values that should equal the golden tensor. */
static void compare(run *r, const char *name, const float *have, int64_t n)
{
    const qep_st_tensor *t = golden_tensor(r, name);
    assert_int_equal(t->bytes, n * 4);
    float *want = qep_alloc("test", n, sizeof *want);
    assert_ok(qep_st_read(r->golden, t, 0, t->bytes, want));
    double sum = 0.0, squares = 0.0, error = 0.0, max = 0.0;
    for (int64_t i = 0; i < n; i++) {
        const double d = fabs((double)have[i] - (double)want[i]);
        sum += want[i];
        squares += (double)want[i] * want[i];
        error += d * d;
        if (!(d <= max)) max = d; /* NaN counts as larger */
    }
    qep_free(want);
    const double std = sqrt(squares / (double)n - sum / (double)n * (sum / (double)n));
    const deviation dev = {max / std, sqrt(error / (double)n) / std};
    if (!(dev.max <= r->worst.max)) r->worst.max = dev.max;
    if (!(dev.rms <= r->worst.rms)) r->worst.rms = dev.rms;
    r->hash = qep_hash64(have, (size_t)n * sizeof *have, r->hash);
}

/* Both streams of sequence s through the loaded block; equal weights must give equal streams. */
static void run_block(run *r, int64_t s)
{
    const qep_arch *a = &r->model->arch;
    float *x = r->x + s * r->T * a->hidden, *xq = r->xq + s * r->T * a->hidden;
    const bool sparse = qep_arch_sparse(a, qep_block_index(r->block));
    for (int g = 0; g < (sparse ? 2 : QEP_N_GROUPS); g++) {
        qep_out_error err[QEP_MAX_MEMBERS] = {{0.0, 0.0}};
        const bool normed = g == 0 || g == 2;
        if (normed) {
            qep_block_norm(r->block, g, x, r->T, r->in);
            qep_block_norm(r->block, g, xq, r->T, r->inq);
        }
        qep_block_advance(r->block, g, r->T, normed ? r->in : r->act, normed ? r->inq : r->actq, x,
                          xq, r->act, r->actq, err, r->work);
        for (int i = 0; i < a->group_count[g]; i++) {
            assert_true(err[i].diff == 0.0);
            assert_true(err[i].ref > 0.0);
        }
    }
    for (int q = 0; q < 2 && sparse; q++) {
        float *to = q ? xq : x;
        qep_block_norm(r->block, 2, to, r->T, r->in);
        qep_block_experts(r->block, (qep_stream)q, r->in, r->T, to, r->work);
    }
    assert_memory_equal(x, xq, (size_t)(r->T * a->hidden) * sizeof *x);
}

static void run_head(run *r)
{
    const qep_arch *a = &r->model->arch;
    qep_head *head = NULL;
    assert_ok(qep_head_load_all(world, r->model, r->compute, false, &head));
    float *logits = qep_alloc("test", r->n_seq * r->T * a->vocab, sizeof *logits);
    for (int64_t s = 0; s < r->n_seq; s++) {
        qep_head_norm(head, QEP_STREAM_FP, r->x + s * r->T * a->hidden, r->T, r->in);
        qep_head_logits(head, QEP_STREAM_FP, r->in, r->T, logits + s * r->T * a->vocab, r->work);
    }
    compare(r, "logits", logits, r->n_seq * r->T * a->vocab);
    qep_free(logits);
    qep_head_destroy_all(&head);
}

static deviation forward(const char *dir, qep_compute compute)
{
    run r;
    char name[32];
    open_run(&r, dir, compute);
    const qep_arch *a = &r.model->arch;
    const int64_t n = r.n_seq * r.T * a->hidden;
    assert_ok(qep_model_scan_all(world, r.model));
    assert_ok(qep_model_embed(r.model, r.ids, r.n_seq * r.T, r.x));
    memcpy(r.xq, r.x, (size_t)n * sizeof *r.x);
    compare(&r, "hidden.0", r.x, n);
    assert_true(r.worst.max == 0.0);
    for (int64_t b = 0; b < a->n_blocks; b++) {
        assert_ok(qep_block_load_all(r.block, b));
        for (int64_t s = 0; s < r.n_seq; s++) run_block(&r, s);
        snprintf(name, sizeof name, "hidden.%d", (int)b + 1);
        compare(&r, name, r.x, n);
    }
    run_head(&r);
    uint64_t root = r.hash;
    qep_bcast_all(world, 0, &root, sizeof root);
    assert_all(world, root == r.hash);
    const deviation worst = r.worst;
    close_run(&r);
    return worst;
}

static void test_families(void **state)
{
    (void)state;
    const int64_t before = qep_mem_now();
    for (int i = 0; i < N_FAMILIES; i++) {
        char *dir = family_dir(families[i]);
        const deviation f32 = forward(dir, QEP_COMPUTE_F32), bf16 = forward(dir, QEP_COMPUTE_BF16);
        print_message("# %-24s f32 max %.1e  bf16 max %.1e rms %.1e\n", families[i], f32.max,
                      bf16.max, bf16.rms);
        assert_le_f(f32.max, bound_f32);
        assert_le_f(bf16.max, bound_bf16_max);
        assert_le_f(bf16.rms, bound_bf16_rms);
        qep_free(dir);
    }
    assert_int_equal(qep_mem_now(), before);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_families),
};
QEP_TEST_MAIN_MPI(tests)
