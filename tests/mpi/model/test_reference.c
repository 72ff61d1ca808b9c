/* The forward pass against plain loops in double (forward_ref.h): small random models of every family, with every rotary embedding, at shapes
 * and lengths on the edges. All ranks must get the same bits; rank 0 compares.
 * SPDX-License-Identifier: Apache-2.0 */
#include <unistd.h>

#include "forward.h"
#include "forward_ref.h"
#include "tiny_model.h"

static qep_comm *world;

/* Bounds on the error of streams and logits in units of their standard deviation. f32: rounding of sums in another order. bf16: weights and inputs of
 * linears have 8 bits. Experts are chosen by the largest logits: where the reference's own choice hangs on less than `tie`, bf16 may take another,
 * which is not an error; such a case is compared in f32 only. */
static const double bound_f32 = 1e-5, bound_bf16_max = 8e-2, bound_bf16_rms = 1.5e-2, tie = 2e-2;

enum { BLOCKS = 2, VOCAB = 53, WINDOW = 9, INTER = 37, QWEN_INTER = 32, MAX_T = 521 };

typedef struct family {
    const char *type, *keys;
    bool may_bias;   /* attention_bias counts */
    double scalar;   /* scores are scaled by its root; 0: by the head's size */
    ref_model form;  /* without sizes */
} family;

#define NORMS_BEFORE {"input_layernorm", NULL, "post_attention_layernorm", NULL}
#define NORMS_AROUND {"input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm", "post_feedforward_layernorm"}
#define NORMS_AFTER {NULL, "post_attention_layernorm", NULL, "post_feedforward_layernorm"}
static const family families[] = {
    {"llama", "  \"hidden_act\": \"silu\",\n", true, 0, {.norms = NORMS_BEFORE}},
    {"mistral", "  \"sliding_window\": 9,\n", false, 0, {.norms = NORMS_BEFORE, .sliding = 3}},
    {"qwen2", "  \"use_sliding_window\": true,\n  \"sliding_window\": 9,\n  \"max_window_layers\": 1,\n", false, 0, {.norms = NORMS_BEFORE, .sliding = 2}},
    {"qwen3", "  \"use_sliding_window\": true,\n  \"sliding_window\": 9,\n  \"layer_types\": [\"sliding_attention\", \"full_attention\"],\n", true, 0,
     {.norms = NORMS_BEFORE, .head_norms = true, .sliding = 1}},
    {"phi3", "  \"sliding_window\": 9,\n", false, 0, {.norms = NORMS_BEFORE, .stacked = true, .sliding = 3}},
    {"gemma2",
     "  \"query_pre_attn_scalar\": 24,\n  \"sliding_window\": 9,\n  \"attn_logit_softcapping\": 1.5,\n  \"final_logit_softcapping\": 2.5,\n", true, 24,
     {.norms = NORMS_AROUND, .plus_one = true, .gelu = true, .embed_scale = -1, .score_cap = 1.5, .logit_cap = 2.5, .sliding = 1}},
    {"gemma3_text",
     "  \"query_pre_attn_scalar\": 10,\n  \"sliding_window\": 9,\n  \"sliding_window_pattern\": 2,\n  \"rope_local_base_freq\": 500.0,\n"
     "  \"attn_logit_softcapping\": 1.5,\n  \"final_logit_softcapping\": 30,\n", true, 10,
     {.norms = NORMS_AROUND, .plus_one = true, .gelu = true, .embed_scale = -1, .head_norms = true, .logit_cap = 30, .sliding = 1, .local = {.theta = 500}}},
    {"olmo2", "  \"hidden_act\": \"silu\",\n", true, 0, {.norms = NORMS_AFTER, .wide_norms = true}},
    {"mixtral", "  \"sliding_window\": 9,\n", false, 0,
     {.norms = NORMS_BEFORE, .sliding = 3, .expert_inter = INTER, .renormalize = true, .sparse = 3, .moe = "block_sparse_moe", .parts = {"w1", "w3", "w2"}}},
    {"qwen3_moe", "  \"moe_intermediate_size\": 32,\n  \"norm_topk_prob\": false,\n  \"mlp_only_layers\": [0],\n", true, 0,
     {.norms = NORMS_BEFORE, .head_norms = true, .expert_inter = QWEN_INTER, .sparse = 2, .moe = "mlp", .parts = {"gate_proj", "up_proj", "down_proj"}}},
};
enum { N_FAMILIES = sizeof families / sizeof families[0] };

typedef struct shape {
    int64_t hidden, heads, kv_heads, head_dim, experts, top_k;
    bool bias, tied;
} shape;
static const shape shapes[] = {
    {24, 1, 1, 16, 1, 1, false, false},
    {24, 3, 1, 2, 3, 1, true, true},
    {31, 5, 5, 10, 4, 4, false, true},
    {48, 6, 2, 16, 7, 3, true, false},
};
enum { N_SHAPES = sizeof shapes / sizeof shapes[0] };

/* A rotary embedding as its keys say it, and what they mean. */
typedef struct rope_case {
    const char *family, *keys;
    int64_t max_positions;
    double part; /* of a head's channels; 0: all */
    ref_rope want;
} rope_case;
static const rope_case ropes[] = {
    {"llama", "  \"rope_parameters\": {\"rope_type\": \"default\", \"rope_theta\": 500},\n", 24, 0, {REF_DEFAULT, .theta = 500}},
    {"llama", "  \"rope_scaling\": {\"type\": \"linear\", \"factor\": 3.5},\n", 24, 0, {REF_LINEAR, .theta = 1e4, .factor = 3.5}},
    {"qwen2", "  \"rope_scaling\": {\"rope_type\": \"dynamic\", \"factor\": 2.5},\n", 24, 0, {REF_DYNAMIC, .theta = 1e4, .factor = 2.5, .original = 24}},
    {"llama",
     "  \"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": 8, \"low_freq_factor\": 1, \"high_freq_factor\": 4, "
     "\"original_max_position_embeddings\": 100},\n",
     800, 0, {REF_LLAMA3, .theta = 1e4, .factor = 8, .low = 1, .high = 4, .original = 100}},
    {"qwen3", "  \"rope_scaling\": {\"rope_type\": \"yarn\", \"factor\": 4, \"original_max_position_embeddings\": 300},\n", 1200, 0,
     {REF_YARN, .theta = 1e4, .factor = 4, .low = 1, .high = 32, .original = 300}},
    {"phi3",
     "  \"partial_rotary_factor\": 0.75,\n  \"rope_scaling\": {\"type\": \"su\", \"short_factor\": [1, 1, 1.1, 1.2, 1.3, 1.4], "
     "\"long_factor\": [1, 2, 3, 4, 5, 6]},\n  \"original_max_position_embeddings\": 24,\n",
     96, 0.75, {REF_LONGROPE, .theta = 1e4, .factor = 4, .original = 24, .longrope = {{1, 1, 1.1, 1.2, 1.3, 1.4}, {1, 2, 3, 4, 5, 6}}}},
};
enum { N_ROPES = sizeof ropes / sizeof ropes[0] };

/* --- one model, one length ------------------------------------------------------------------- */

typedef struct comparison {
    double *hidden, *logits; /* the reference's, on rank 0 */
    deviation worst;
    uint64_t hash;
} comparison;

static void compare_stage(void *ctx, int64_t stage, const float *values, int64_t n)
{
    comparison *c = ctx;
    c->hash = qep_hash64(values, (size_t)n * sizeof *values, c->hash);
    if (qep_rank(world) == 0) worsen(&c->worst, deviation_of(values, stage < 0 ? c->logits : c->hidden + stage * n, n));
}

static deviation run(const char *dir, qep_compute compute, const int32_t *ids, int64_t T, comparison *c)
{
    forward f;
    c->worst = (deviation){0, 0};
    c->hash = 0;
    forward_open(&f, world, dir, compute, 1, T);
    forward_run(&f, ids, compare_stage, c);
    forward_close(&f);
    uint64_t root = c->hash;
    qep_bcast_all(world, 0, &root, sizeof root);
    assert_all(world, root == c->hash);
    return c->worst;
}

static void add_name(char *text, size_t cap, const tiny_model *t, int64_t T)
{
    snprintf(text, cap, "%s hidden %d, heads %d of %d, kv %d, experts %d of %d, T %d", t->family, (int)t->hidden, (int)t->heads, (int)t->head_dim,
             (int)t->kv_heads, (int)t->top_k, (int)t->experts, (int)T);
}

/* Largest errors so far. */
typedef struct tally {
    deviation f32, bf16;
    int compared, ties;
} tally;

static void check(const char *dir, const tiny_model *t, const ref_model *m, int64_t T, tally *all)
{
    char name[160];
    int32_t ids[MAX_T];
    qep_rng rng;
    comparison c = {NULL, NULL, {0, 0}, 0};
    double margin = INFINITY;
    add_name(name, sizeof name, t, T);
    qep_rng_seed(&rng, (uint64_t)T);
    for (int64_t i = 0; i < T; i++) ids[i] = (int32_t)(qep_rng_u64(&rng) % VOCAB);
    if (qep_rank(world) == 0) {
        qep_st_set *files = NULL;
        assert_ok(qep_st_open_dir(dir, &files));
        c.hidden = qep_alloc("test", (BLOCKS + 1) * T * m->hidden, sizeof(double));
        c.logits = qep_alloc("test", T * VOCAB, sizeof(double));
        margin = ref_forward(files, m, ids, T, c.hidden, c.logits);
        qep_st_close(&files);
    }
    qep_bcast_all(world, 0, &margin, sizeof margin);
    const deviation f32 = run(dir, QEP_COMPUTE_F32, ids, T, &c), bf16 = run(dir, QEP_COMPUTE_BF16, ids, T, &c);
    const bool tied = margin < tie;
    worsen(&all->f32, f32);
    if (!tied) worsen(&all->bf16, bf16);
    all->compared += !tied;
    all->ties += tied;
    const bool good = margin > 10 * bound_f32 && f32.max <= bound_f32 && (tied || (bf16.max <= bound_bf16_max && bf16.rms <= bound_bf16_rms));
    if (!good) fprintf(stderr, "# %s: f32 %.1e, bf16 %.1e rms %.1e, choices decided by %.1e\n", name, f32.max, bf16.max, bf16.rms, margin);
    assert_all(world, good);
    qep_free(c.logits);
    qep_free(c.hidden);
}

/* --- what there is to check -------------------------------------------------------------------- */

static const family *family_of(const char *type)
{
    for (int i = 0; i < N_FAMILIES; i++)
        if (strcmp(families[i].type, type) == 0) return &families[i];
    fail_msg("no family %s", type);
    return NULL;
}

static void fill(const family *f, const shape *s, tiny_model *t, ref_model *m)
{
    *t = (tiny_model){.family = f->type, .keys = f->keys, .hidden = s->hidden, .inter = INTER, .blocks = BLOCKS, .heads = s->heads,
                      .kv_heads = s->kv_heads, .head_dim = s->head_dim, .vocab = VOCAB, .dtype = QEP_F32, .tied = s->tied,
                      .bias = s->bias && f->may_bias, .experts = s->experts, .top_k = s->top_k, .seed = 7, .shards = 1};
    *m = f->form;
    m->hidden = s->hidden, m->inter = INTER, m->blocks = BLOCKS, m->heads = s->heads, m->kv_heads = s->kv_heads, m->head_dim = s->head_dim;
    m->vocab = VOCAB, m->tied = s->tied, m->window = WINDOW, m->rotated = s->head_dim, m->experts = s->experts, m->top_k = s->top_k;
    m->rope = (ref_rope){REF_DEFAULT, .theta = 1e4};
    m->embed_scale = f->form.embed_scale < 0 ? (double)(float)sqrt((double)s->hidden) : 1;
    m->score_scale = 1 / sqrt(f->scalar > 0 ? f->scalar : (double)s->head_dim);
}

/* One model at several lengths. */
static void check_lengths(const tiny_model *t, const ref_model *m, const int64_t *lengths, int n, tally *all)
{
    char dir[64];
    int64_t id = (int64_t)getpid();
    qep_bcast_all(world, 0, &id, sizeof id);
    snprintf(dir, sizeof dir, "/tmp/qep_reference.%d", (int)id);
    if (qep_rank(world) == 0) assert_ok(tiny_model_write(dir, t));
    qep_barrier_all(world);
    for (int i = 0; i < n; i++) check(dir, t, m, lengths[i], all);
    qep_barrier_all(world);
    if (qep_rank(world) == 0) tiny_remove_dir(dir);
}

static void report(const char *what, const tally *all)
{
    print_message("# %-12s f32 max %.1e  bf16 max %.1e rms %.1e  (%d lengths and shapes; %d more in f32 only)\n", what, all->f32.max, all->bf16.max,
                  all->bf16.rms, all->compared, all->ties);
}

/* One token; the window, one more and one less; a prime beyond it. */
static void test_shapes(void **state)
{
    (void)state;
    static const int64_t lengths[] = {1, WINDOW - 1, WINDOW, WINDOW + 1, 53};
    const int64_t before = qep_mem_now();
    for (int i = 0; i < N_FAMILIES; i++) {
        tally all = {{0, 0}, {0, 0}, 0, 0};
        for (int k = 0; k < N_SHAPES; k++) {
            tiny_model t;
            ref_model m;
            fill(&families[i], &shapes[k], &t, &m);
            check_lengths(&t, &m, lengths, sizeof lengths / sizeof *lengths, &all);
        }
        report(families[i].type, &all);
        assert_true(all.compared >= 3 * N_SHAPES);
    }
    assert_int_equal(qep_mem_now(), before);
}

/* Up to the original context, one more, and far beyond. */
static void test_ropes(void **state)
{
    (void)state;
    static const int64_t lengths[] = {1, 24, 25, 53, 101};
    static const char *const names[] = {"default", "linear", "dynamic", "llama3", "yarn", "longrope"};
    for (int i = 0; i < N_ROPES; i++) {
        tally all = {{0, 0}, {0, 0}, 0, 0};
        tiny_model t;
        ref_model m;
        fill(family_of(ropes[i].family), &shapes[3], &t, &m);
        t.keys = ropes[i].keys;
        t.max_positions = ropes[i].max_positions;
        m.rope = ropes[i].want;
        m.sliding = 0;
        if (ropes[i].part > 0) m.rotated = (int64_t)(ropes[i].part * (double)m.head_dim);
        check_lengths(&t, &m, lengths, sizeof lengths / sizeof *lengths, &all);
        report(names[ropes[i].want.type], &all);
    }
}

/* More than one block of queries in attention and one tile of tokens in the mlp: without a window, with it, and with experts. */
static void test_long(void **state)
{
    (void)state;
    static const int64_t lengths[] = {MAX_T};
    static const char *const types[] = {"llama", "gemma2", "mixtral"};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        tally all = {{0, 0}, {0, 0}, 0, 0};
        tiny_model t;
        ref_model m;
        fill(family_of(types[i]), &shapes[3], &t, &m);
        check_lengths(&t, &m, lengths, 1, &all);
        report(types[i], &all);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_shapes),
    cmocka_unit_test(test_ropes),
    cmocka_unit_test(test_long),
};
QEP_TEST_MAIN_MPI(tests)
