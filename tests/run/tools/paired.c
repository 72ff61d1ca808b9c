/* paired ORIGINAL OUTPUT TOKENS.npy LENGTH: what modules.csv should say of the experts of a Mixtral of forge's (paired.c's sizes), by plain loops in double over
 * both directories, the second a dense output of all the sequences: a line "module tokens error" for each of their linears, the relative error
 * |W x - Q xq|^2 / |W x|^2 over the tokens that the router sends to the expert in the quantized stream, those of the other stream beside them; at
 * last "differ N": token and expert pairs that only the quantized stream has. SPDX-License-Identifier: Apache-2.0 */
#include "../../mpi/model/forward_ref.h"

enum { EXPERTS = 5, TOP_K = 2, HIDDEN = 32, INTER = 32, MAX_T = 64 };
static const ref_model model = {.hidden = HIDDEN, .inter = INTER, .blocks = 2, .heads = 4, .kv_heads = 2, .head_dim = 8, .vocab = 160,
                                .norms = {"input_layernorm", NULL, "post_attention_layernorm", NULL}, .embed_scale = 1, .score_scale = 0.35355339059327378,
                                .rotated = 8, .rope = {REF_DEFAULT, .theta = 1e4}, .experts = EXPERTS, .top_k = TOP_K, .expert_inter = INTER,
                                .renormalize = true, .sparse = 3, .moe = "block_sparse_moe", .parts = {"w1", "w3", "w2"}};

typedef struct sums {
    int64_t tokens;
    double diff[3], ref[3]; /* gate, up, down */
} sums;

/* y[k][n, rows] = linear `part` of expert e for x[k][n, cols]: of the original and of the output; their difference is added to s. */
static void product(qep_st_set *const *files, int64_t b, int64_t e, int part, double *const *x, int64_t n, double *const *y, sums *s)
{
    char name[96];
    snprintf(name, sizeof name, "model.layers.%d.%s.experts.%d.%s", (int)b, model.moe, (int)e, model.parts[part]);
    for (int k = 0; k < 2; k++) ref_linear(files[k], name, 0, HIDDEN, HIDDEN, x[k], n, y[k]); /* HIDDEN = INTER */
    for (int64_t i = 0; i < n * HIDDEN; i++) {
        s->diff[part] += (y[0][i] - y[1][i]) * (y[0][i] - y[1][i]);
        s->ref[part] += y[0][i] * y[0][i];
    }
}

/* weight[k][T, EXPERTS] by the router, for in[k][T, HIDDEN] of both streams. */
static void route(qep_st_set *const *files, int64_t b, double *const *in, int64_t T, double (*weight)[MAX_T * EXPERTS])
{
    char name[96];
    double logits[MAX_T * EXPERTS];
    snprintf(name, sizeof name, "model.layers.%d.%s.gate", (int)b, model.moe);
    for (int k = 0; k < 2; k++) {
        ref_linear(files[k], name, 0, EXPERTS, HIDDEN, in[k], T, logits);
        for (int64_t t = 0; t < T; t++) (void)ref_route(&model, logits + t * EXPERTS, weight[k] + t * EXPERTS);
    }
}

/* The tokens of one sequence that go to expert e in the quantized stream. */
static void one_expert(qep_st_set *const *files, int64_t b, int64_t e, double *const *in, int64_t T, double (*weight)[MAX_T * EXPERTS], sums *s,
                       int64_t *differ)
{
    static double rows[2][MAX_T * HIDDEN], gate[2][MAX_T * HIDDEN], up[2][MAX_T * HIDDEN];
    double *const x[2] = {rows[0], rows[1]}, *const g[2] = {gate[0], gate[1]}, *const u[2] = {up[0], up[1]};
    int64_t n = 0;
    for (int64_t t = 0; t < T; t++) {
        if (!(weight[1][t * EXPERTS + e] > 0)) continue;
        *differ += !(weight[0][t * EXPERTS + e] > 0);
        for (int k = 0; k < 2; k++) memcpy(rows[k] + n * HIDDEN, in[k] + t * HIDDEN, HIDDEN * sizeof(double));
        n++;
    }
    s->tokens += n;
    product(files, b, e, 0, x, n, g, s);
    product(files, b, e, 1, x, n, u, s);
    for (int k = 0; k < 2; k++)
        for (int64_t i = 0; i < n * INTER; i++) gate[k][i] = ref_act(&model, gate[k][i]) * up[k][i];
    product(files, b, e, 2, g, n, u, s);
}

/* One sequence through block b. */
static void one_sequence(qep_st_set *const *files, int64_t b, double *const *x, int64_t T, sums *s, int64_t *differ)
{
    static double normed[2][MAX_T * HIDDEN], weight[2][MAX_T * EXPERTS];
    double *const in[2] = {normed[0], normed[1]};
    for (int k = 0; k < 2; k++) {
        (void)ref_sublayer(files[k], &model, b, 0, x[k], T);
        ref_block_norm(files[k], &model, b, 2, x[k], T, normed[k]);
    }
    route(files, b, in, T, weight);
    for (int64_t e = 0; e < EXPERTS; e++) one_expert(files, b, e, in, T, weight, &s[e], differ);
    for (int k = 0; k < 2; k++) (void)ref_sublayer(files[k], &model, b, 1, x[k], T);
}

/* ids[n] of an .npy file of i4; returns n. */
static int64_t read_tokens(const char *path, int32_t *ids, int64_t most)
{
    unsigned char head[10];
    FILE *f = fopen(path, "rb");
    int64_t n = 0;
    if (f && fread(head, 1, sizeof head, f) == sizeof head && fseek(f, head[8] + 256 * head[9], SEEK_CUR) == 0)
        n = (int64_t)fread(ids, sizeof *ids, (size_t)most, f);
    if (f) fclose(f);
    return n;
}

int main(int argc, char **argv)
{
    static int32_t ids[4096];
    qep_st_set *files[2];
    const int64_t T = argc == 5 ? strtoll(argv[4], NULL, 10) : 0, n = argc == 5 ? read_tokens(argv[3], ids, 4096) : 0;
    int64_t differ = 0;
    if (T < 1 || T > MAX_T || n < T || qep_st_open_dir(argv[1], &files[0]) != QEP_OK || qep_st_open_dir(argv[2], &files[1]) != QEP_OK) {
        fprintf(stderr, "paired: cannot read what was named: %s\n", qep_error_text());
        return 1;
    }
    double *streams = qep_alloc("test", 2 * n * HIDDEN, sizeof *streams), *const half[2] = {streams, streams + n * HIDDEN};
    double *embed = ref_read(files[0], "model.embed_tokens.weight", 0, model.vocab);
    for (int64_t i = 0; i < n * HIDDEN; i++) half[0][i] = half[1][i] = embed[ids[i / HIDDEN] * HIDDEN + i % HIDDEN];
    for (int64_t b = 0; b < model.blocks; b++) {
        sums s[EXPERTS] = {{0, {0}, {0}}};
        for (int64_t at = 0; at + T <= n; at += T) one_sequence(files, b, (double *const[2]){half[0] + at * HIDDEN, half[1] + at * HIDDEN}, T, s, &differ);
        for (int e = 0; e < EXPERTS; e++)
            for (int p = 0; p < 3; p++)
                printf("model.layers.%d.%s.experts.%d.%s %lld %.9g\n", (int)b, model.moe, e, model.parts[p], (long long)s[e].tokens, s[e].diff[p] / s[e].ref[p]);
    }
    printf("differ %lld\n", (long long)differ);
    qep_free(embed);
    qep_free(streams);
    for (int k = 0; k < 2; k++) qep_st_close(&files[k]);
    return 0;
}
