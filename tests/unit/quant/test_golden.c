/* RTN, GPTQ and packing against what the published implementations make of the golden layers
 * (shared/golden/README.md). Those keep f32 scales, hence exact_scales.
 * SPDX-License-Identifier: Apache-2.0 */
#include "quant_fixture.h"

#include <glob.h>

#include "qep/safetensors.h"

static char *shared_dir; /* NULL: no goldens here */

static const char *golden_path(char *buf, size_t cap, const char *name)
{
    snprintf(buf, cap, "%s/golden/%s", shared_dir, name);
    return buf;
}

static qep_st_set *open_golden(const char *name)
{
    char path[512];
    qep_st_set *s = NULL;
    assert_ok(qep_st_open_file(golden_path(path, sizeof path, name), &s));
    return s;
}

/* Raw data of a tensor; shape may be NULL. NULL when the file has none of that name. */
static void *golden(const qep_st_set *s, const char *name, int64_t shape[2])
{
    const qep_st_tensor *t = qep_st_find(s, name);
    if (!t) return NULL;
    void *data = test_alloc(t->bytes, 1);
    assert_ok(qep_st_read(s, t, 0, t->bytes, data));
    for (int i = 0; shape && i < 2 && i < t->rank; i++) shape[i] = t->shape[i];
    return data;
}

/* --- the layer -------------------------------------------------------------------------------- */

typedef struct golden_case {
    int64_t n, d, m;
    float *W, *X, *Xh;
    double *H;
} golden_case;

static golden_case load_case(const char *name)
{
    char file[64];
    int64_t w[2], x[2];
    snprintf(file, sizeof file, "case__%s.safetensors", name);
    qep_st_set *s = open_golden(file);
    golden_case c = {.W = golden(s, "W", w), .X = golden(s, "X", x), .Xh = golden(s, "Xh", NULL),
                     .H = golden(s, "H", NULL)};
    c.n = w[0], c.d = w[1], c.m = x[1];
    qep_st_close(&s);
    return c;
}

static void free_case(golden_case *c)
{
    void *owned[] = {c->W, c->X, c->Xh, c->H};
    for (size_t i = 0; i < 4; i++) qep_free(owned[i]);
}

/* H as the published code had it: scaled, dead channels 1, 1 % of the mean diagonal added. */
static double *published_hessian(const golden_case *c, double factor)
{
    double *h = test_alloc(c->d * c->d, sizeof *h), mean = 0.0;
    for (int64_t i = 0; i < c->d * c->d; i++) h[i] = factor * c->H[i];
    for (int64_t i = 0; i < c->d; i++) {
        if (h[i * c->d + i] == 0.0) h[i * c->d + i] = 1.0;
        mean += h[i * c->d + i] / (double)c->d;
    }
    for (int64_t i = 0; i < c->d; i++) h[i * c->d + i] += 0.01 * mean;
    return h;
}

/* ||W X - Q Xh||^2 and ||(Q - W) Xh||^2. */
static void objectives(const golden_case *c, const float *q, double *j, double *j_sym)
{
    *j = *j_sym = 0.0;
    double *a = test_alloc(c->m, sizeof *a), *b = test_alloc(c->m, sizeof *b);
    for (int64_t r = 0; r < c->n; r++) {
        memset(a, 0, (size_t)c->m * sizeof *a);
        memset(b, 0, (size_t)c->m * sizeof *b);
        for (int64_t k = 0; k < c->d; k++) {
            double w = (double)c->W[r * c->d + k], v = (double)q[r * c->d + k];
            for (int64_t t = 0; t < c->m; t++) {
                a[t] += w * (double)c->X[k * c->m + t] - v * (double)c->Xh[k * c->m + t];
                b[t] += (v - w) * (double)c->Xh[k * c->m + t];
            }
        }
        for (int64_t t = 0; t < c->m; t++) {
            *j += a[t] * a[t];
            *j_sym += b[t] * b[t];
        }
    }
    qep_free(a);
    qep_free(b);
}

/* --- GPTQ ------------------------------------------------------------------------------------- */

typedef struct options {
    qep_qspec spec;
    char layer[16];
    bool onecomp;
    double j, j_sym; /* of the published f64 replay */
} options;

static double meta_real(const qep_json *meta, const char *key)
{
    const char *text = qep_json_string(qep_json_get(meta, key));
    assert_non_null(text);
    return strtod(text, NULL);
}

static options read_options(const qep_st_set *s)
{
    const qep_json *meta = qep_st_metadata(s, 0);
    const char *text = qep_json_string(qep_json_get(meta, "options"));
    qep_json *o = NULL;
    options r = {0};
    assert_ok(qep_json_parse(text, (int64_t)strlen(text), "options", QEP_E_INPUT, &o));
    int64_t block = qep_json_int(qep_json_get(o, "block"));
    r.spec = (qep_qspec){
        .method = &qep_method_gptq,
        .bits = (int)qep_json_int(qep_json_get(o, "bits")),
        .group_size = qep_json_int(qep_json_get(o, "group")),
        .symmetric = qep_json_bool(qep_json_get(o, "sym")),
        .act_order = qep_json_bool(qep_json_get(o, "act")),
        .static_groups = qep_json_bool(qep_json_get(o, "static")),
        .clip = qep_json_bool(qep_json_get(o, "mse")) ? QEP_CLIP_MSE : QEP_CLIP_NONE,
        .block_size = block ? block : 128,
        .exact_scales = true,
    };
    qep_json_free(&o);
    snprintf(r.layer, sizeof r.layer, "%s", qep_json_string(qep_json_get(meta, "case")));
    r.onecomp = !strcmp(qep_json_string(qep_json_get(meta, "method")), "gptq-onecomp");
    r.j = meta_real(meta, "J_f64");
    r.j_sym = meta_real(meta, "J_sym_f64");
    return r;
}

typedef struct tally {
    int files;
    int64_t flips, total;
} tally;

/* Rows the published G-sym treats in another way: with no negative weight it keeps lo = 0 (half
 * our scale). */
static bool comparable_row(const options *o, int64_t r)
{
    return !o->spec.symmetric || r != 1;
}

static void compare(const char *file, const options *o, const golden_case *c, const result *x,
                    const qep_st_set *s, tally *sum)
{
    uint8_t *want = golden(s, "codes_f64", NULL);
    float *scales = golden(s, "scales", NULL), *zeros = golden(s, "zeros", NULL);
    int32_t *g_idx = golden(s, "g_idx", NULL);
    int64_t flips = 0, scale_differs = 0;
    bool loose = !strcmp(o->layer, "dup") || o->onecomp || (o->spec.symmetric && o->spec.clip);
    assert_memory_equal(g_idx, x->g_idx, (size_t)c->d * sizeof(int32_t));
    for (int64_t r = 0; r < c->n; r++) {
        if (!comparable_row(o, r)) continue;
        for (int64_t g = r * x->groups; g < (r + 1) * x->groups; g++)
            scale_differs += !(fabsf(x->scales[g] - scales[g]) <= 1e-5f * scales[g]) ||
                             (float)x->zeros[g] != zeros[g];
        for (int64_t k = 0; k < c->d; k++)
            if (c->H[k * (c->d + 1)] != 0.0) flips += x->codes[r * c->d + k] != want[r * c->d + k];
    }
    double share = (double)flips / (double)(c->n * c->d);
    if (flips || scale_differs)
        print_message("%s: %lld codes, %lld grids differ\n", file, (long long)flips,
                      (long long)scale_differs);
    assert_le_f(share, loose ? 0.01 : 0.0);
    if (!o->spec.symmetric) { /* the row left out would count */
        float *mine = test_alloc(c->n * c->d, sizeof *mine);
        double j, j_sym;
        for (int64_t i = 0; i < c->n * c->d; i++) mine[i] = (float)value_at(x, i / c->d, i % c->d);
        objectives(c, mine, &j, &j_sym);
        assert_le_f(fabs(j - o->j), (flips ? 2e-3 : 2e-5) * o->j);
        assert_le_f(fabs(j_sym - o->j_sym), (flips ? 2e-3 : 2e-5) * o->j_sym);
        qep_free(mine);
    }
    sum->files++;
    sum->flips += flips;
    sum->total += c->n * c->d;
    void *owned[] = {want, scales, zeros, g_idx};
    for (size_t i = 0; i < 4; i++) qep_free(owned[i]);
}

/* The published code takes per-row grids before it zeroes the weights of dead channels, groups
 * after it. A dead channel is decoupled from all others, so its weight matters for grids only. */
static float *target_of(const golden_case *c, const options *o, const qep_st_set *s)
{
    float *w = golden(s, "Wstar", NULL);
    if (!w) {
        w = test_alloc(c->n * c->d, sizeof *w);
        memcpy(w, c->W, (size_t)(c->n * c->d) * sizeof *w);
    }
    for (int64_t k = 0; o->spec.group_size > 0 && k < c->d; k++) {
        if (c->H[k * (c->d + 1)] != 0.0) continue;
        for (int64_t r = 0; r < c->n; r++) w[r * c->d + k] = 0.0f;
    }
    return w;
}

static void check_gptq_file(const char *file, tally *sum)
{
    qep_st_set *s = open_golden(file);
    options o = read_options(s);
    golden_case c = load_case(o.layer);
    float *w = target_of(&c, &o, s);
    int32_t *perm = golden(s, "perm", NULL);
    assert_true(!o.spec.act_order || perm);
    double *h = published_hessian(&c, o.onecomp ? 2.0 / (double)c.m : 2.0 / 4.0);
    double *hp = permuted(h, c.d, perm), *R = factor_r(hp, c.d);
    result x = new_result(&o.spec, c.n, c.d);
    run_rows(&o.spec, w, c.n, c.d, perm, R, NULL, &x);
    compare(file, &o, &c, &x, s, sum);
    free_result(&x);
    void *owned[] = {w, perm, h, hp, R};
    for (size_t i = 0; i < 5; i++) qep_free(owned[i]);
    free_case(&c);
    qep_st_close(&s);
}

/* Runs check on all golden files PATTERN whose name has neither of the words. */
static int for_files(const char *pattern, const char *without, const char *without2, tally *sum,
                     void (*check)(const char *file, tally *sum))
{
    char path[512];
    glob_t found;
    int n = 0;
    if (!shared_dir) skip();
    assert_int_equal(glob(golden_path(path, sizeof path, pattern), 0, NULL, &found), 0);
    for (size_t i = 0; i < found.gl_pathc; i++) {
        const char *file = qep_path_base(found.gl_pathv[i]);
        if ((without && strstr(file, without)) || (without2 && strstr(file, without2))) continue;
        check(file, sum);
        n++;
    }
    globfree(&found);
    return n;
}

static void gptq_published(void **state)
{
    (void)state;
    tally t = {0};
    assert_int_equal(for_files("gptq__*", NULL, NULL, &t, check_gptq_file), 33);
}

static void qep_gptq_published(void **state)
{
    (void)state;
    tally t = {0};
    assert_int_equal(for_files("qep-gptq__*", NULL, NULL, &t, check_gptq_file), 16);
}

static void gptq_onecompression(void **state)
{
    (void)state;
    tally t = {0};
    /* its search has 600 steps */
    assert_int_equal(for_files("gptq-onecomp__*", "mse", NULL, &t, check_gptq_file), 8);
}

static void gptq_foem_tree(void **state)
{
    (void)state;
    tally t = {0};
    assert_int_equal(for_files("gptq-foemtree__*", NULL, NULL, &t, check_gptq_file), 8);
}

static void gptq_static_groups(void **state)
{
    (void)state;
    tally t = {0};
    /* sym is another grid there */
    assert_int_equal(for_files("gptq-quarot__*", "_sym", NULL, &t, check_gptq_file), 8);
}

/* --- RTN -------------------------------------------------------------------------------------- */

static void check_rtn_file(const char *file, tally *sum)
{
    static const struct {
        int bits;
        int64_t group;
    } sets[] = {{2, -1}, {2, 32}, {3, -1}, {3, 32}, {4, -1}, {4, 32}, {8, -1}};
    qep_st_set *s = open_golden(file);
    golden_case c = load_case(strstr(file, "dead") ? "dead" : "tall");
    for (size_t i = 0; i < sizeof sets / sizeof sets[0]; i++) {
        qep_qspec q = {.bits = sets[i].bits, .group_size = sets[i].group,
                       .symmetric = strstr(file, "G-sym"), .exact_scales = true,
                       .clip = strstr(file, "mse") ? QEP_CLIP_MSE : QEP_CLIP_NONE};
        options o = {.spec = q};
        char name[64];
        snprintf(name, sizeof name, q.group_size > 0 ? "b%d_g%lld.codes" : "b%d_gpc.codes", q.bits,
                 (long long)q.group_size);
        uint8_t *want = golden(s, name, NULL);
        strcpy(strchr(name, '.'), ".scales");
        float *scales = golden(s, name, NULL);
        assert_true(want && scales);
        float *strip = test_alloc(QEP_STRIP * c.d, sizeof *strip);
        result x = new_result(&q, QEP_STRIP, c.d);
        int64_t flips = 0, grids = 0;
        for (int64_t r0 = 0; r0 < c.n; r0 += QEP_STRIP) {
            int64_t n = qep_min_i64(QEP_STRIP, c.n - r0);
            memcpy(strip, c.W + r0 * c.d, (size_t)(n * c.d) * sizeof *strip);
            qep_rtn_strip(&q, strip, NULL, c.d, &(qep_qstrip){x.codes, x.scales, x.zeros});
            for (int64_t r = 0; r < n; r++) {
                if (!comparable_row(&o, r0 + r)) continue;
                flips += count_flips(x.codes + r * c.d, want + (r0 + r) * c.d, c.d);
                for (int64_t g = 0; g < x.groups; g++) {
                    float a = x.scales[r * x.groups + g], b = scales[(r0 + r) * x.groups + g];
                    grids += !(fabsf(a - b) <= 1e-6f * b);
                }
            }
        }
        if (flips || grids)
            print_message("%s %s: %lld codes, %lld grids differ\n", file, name, (long long)flips,
                          (long long)grids);
        assert_int_equal(grids, 0);
        assert_int_equal(flips, 0);
        free_result(&x);
        void *owned[] = {want, scales, strip};
        for (size_t k = 0; k < 3; k++) qep_free(owned[k]);
    }
    sum->files++;
    free_case(&c);
    qep_st_close(&s);
}

static void rtn_published(void **state)
{
    (void)state;
    tally t = {0};
    assert_int_equal(for_files("rtn__*__G-*", NULL, NULL, &t, check_rtn_file), 8);
}

/* --- packing ---------------------------------------------------------------------------------- */

static void check_pack_file(const char *file, tally *sum)
{
    qep_st_set *s = open_golden(file);
    int64_t shape[2], zshape[2];
    uint8_t *codes = golden(s, "codes", shape), *back = test_alloc(shape[0] * shape[1], 1);
    int32_t *zeros = golden(s, "zeros", zshape);
    uint32_t *qweight = golden(s, "gptq_v2.qweight", NULL);
    uint32_t *qzeros = golden(s, "gptq_v2.qzeros", NULL);
    uint32_t *ct = golden(s, "ct.weight_packed", NULL);
    int64_t n = shape[0], d = shape[1], groups = zshape[1];
    int bits = atoi(strstr(file, "_b") + 2);
    uint32_t words[64];
    uint8_t zero[64];
    for (int64_t r = 0; r < n; r++) {
        qep_pack_bits(words, codes + r * d, 1, d, bits);
        for (int64_t w = 0; w < qep_packed_words(d, bits); w++) {
            assert_int_equal(words[w], qweight[w * n + r]);
            if (ct) assert_int_equal(words[w], ct[r * qep_packed_words(d, bits) + w]);
        }
        qep_unpack_bits(back + r * d, 1, words, d, bits);
    }
    assert_memory_equal(codes, back, (size_t)(n * d));
    for (int64_t g = 0; g < groups; g++) {
        for (int64_t r = 0; r < n; r++) zero[r] = (uint8_t)zeros[r * groups + g];
        qep_pack_bits(words, zero, 1, n, bits);
        assert_memory_equal(words, qzeros + g * qep_packed_words(n, bits),
                            (size_t)qep_packed_words(n, bits) * 4);
    }
    sum->files++;
    void *owned[] = {codes, back, zeros, qweight, qzeros, ct};
    for (size_t i = 0; i < 6; i++) qep_free(owned[i]);
    qep_st_close(&s);
}

static void packed_files(void **state)
{
    (void)state;
    tally t = {0};
    assert_int_equal(for_files("pack__layout__*", NULL, NULL, &t, check_pack_file), 20);
}

int main(void)
{
    const char *dir = getenv("QEP_SHARED");
    if (!dir) dir = "../shared";
    char probe[512];
    snprintf(probe, sizeof probe, "%s/golden", dir);
    if (qep_dir_exists(probe)) shared_dir = qep_strdup("test", dir);
    else printf("# no golden vectors in %s: skipped\n", probe);
    qep_linalg_start(1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gptq_published),
        cmocka_unit_test(qep_gptq_published),
        cmocka_unit_test(gptq_onecompression),
        cmocka_unit_test(gptq_foem_tree),
        cmocka_unit_test(gptq_static_groups),
        cmocka_unit_test(rtn_published),
        cmocka_unit_test(packed_files),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    qep_free(shared_dir);
    return failed != 0;
}
