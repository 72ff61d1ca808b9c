/* The forward pass against transformers: the golden models under $QEP_SHARED/golden/families (their
 * README.md says what is in golden.safetensors). Every rank runs all sequences; all ranks must get
 * the same bits.
 * SPDX-License-Identifier: Apache-2.0 */
#include "forward.h"

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

typedef struct run {
    forward f;
    qep_st_set *golden;
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

/* have: [n] values that should equal the golden tensor. */
static void compare(run *r, const char *name, const float *have, int64_t n)
{
    const qep_st_tensor *t = golden_tensor(r, name);
    assert_int_equal(t->bytes, n * 4);
    float *stored = qep_alloc("test", n, sizeof *stored);
    double *want = qep_alloc("test", n, sizeof *want);
    assert_ok(qep_st_read(r->golden, t, 0, t->bytes, stored));
    for (int64_t i = 0; i < n; i++) want[i] = (double)stored[i];
    worsen(&r->worst, deviation_of(have, want, n));
    qep_free(want);
    qep_free(stored);
    r->hash = qep_hash64(have, (size_t)n * sizeof *have, r->hash);
}

static void compare_stage(void *ctx, int64_t stage, const float *values, int64_t n)
{
    run *r = ctx;
    char name[32] = "logits";
    if (stage >= 0) snprintf(name, sizeof name, "hidden.%d", (int)stage);
    compare(r, name, values, n);
    if (stage == 0) assert_true(r->worst.max == 0.0);
}

static deviation against_golden(const char *dir, qep_compute compute)
{
    run r = {.hash = 0};
    char *file = qep_path_join(dir, "golden.safetensors");
    assert_ok(qep_st_open_file(file, &r.golden));
    qep_free(file);
    const qep_st_tensor *t = golden_tensor(&r, "input_ids");
    int32_t *ids = qep_alloc("test", t->shape[0] * t->shape[1], sizeof *ids);
    assert_ok(qep_st_read(r.golden, t, 0, t->bytes, ids));
    forward_open(&r.f, world, dir, compute, t->shape[0], t->shape[1]);
    round_frequencies(&r.f.model->arch, r.f.work);
    forward_run(&r.f, ids, compare_stage, &r);
    uint64_t root = r.hash;
    qep_bcast_all(world, 0, &root, sizeof root);
    assert_all(world, root == r.hash);
    forward_close(&r.f);
    qep_free(ids);
    qep_st_close(&r.golden);
    return r.worst;
}

static void test_families(void **state)
{
    (void)state;
    const int64_t before = qep_mem_now();
    for (int i = 0; i < N_FAMILIES; i++) {
        char *dir = family_dir(families[i]);
        const deviation f32 = against_golden(dir, QEP_COMPUTE_F32), bf16 = against_golden(dir, QEP_COMPUTE_BF16);
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
