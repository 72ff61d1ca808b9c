/* Timing of one part, its row in the table and its line of JSON.
 * SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"

/* A part is repeated until this is spent; with more than one repetition the first one warms up, as it does unless it took far too long. */
static const double budget_s = 1.0, warm_up_s = 10.0;
enum { MAX_SAMPLES = 64 };

static const struct {
    const char *name;
    bench_floor peak;
} floors[] = {
#define X(id, name, peak) {name, peak},
    BENCH_FLOORS(X)
#undef X
};

const char *bench_floor_name(bench_floor f)
{
    return floors[f].name;
}

bench_floor bench_floor_peak(bench_floor f)
{
    return floors[f].peak;
}

bool bench_floor_is_flop(bench_floor f)
{
    return f < BENCH_MEMORY;
}

bool bench_wants(const bench *b, const char *name)
{
    return !b->opt.only || strncmp(name, b->opt.only, strlen(b->opt.only)) == 0;
}

bool bench_wants_section(const bench *b, const char *section)
{
    return bench_wants(b, section) || strncmp(section, b->opt.only, strlen(section)) == 0;
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Seconds of the slowest rank. The same on all ranks. */
static qep_status time_once_all(bench *b, const bench_part *p, double *seconds)
{
    if (p->prepare) QEP_TRY(p->prepare(b, p->ctx));
    qep_barrier_all(b->comm);
    const double t0 = qep_now_s();
    qep_status st = p->run(b, p->ctx);
    *seconds = qep_now_s() - t0;
    QEP_TRY(qep_agree_all(b->comm, st));
    qep_max_f64_all(b->comm, seconds, 1);
    return QEP_OK;
}

typedef struct result {
    int samples;
    double median, least;
    double rate, floor, fraction, of_peak; /* G per second; NAN: no such figure */
} result;

/* Rate of a part whose work runs at two ceilings one after the other; 0 when one of them is
 * unknown. */
static double mixed(double work, double f32_work, double ceiling, double f32_ceiling)
{
    if (f32_work == 0) return ceiling;
    if (!(ceiling > 0) || !(f32_ceiling > 0)) return 0;
    return work / ((work - f32_work) / ceiling + f32_work / f32_ceiling);
}

static result result_of(const bench *b, const bench_part *p, double f32_work, double *seconds,
                        int n)
{
    const double peak =
        mixed(p->work, f32_work, b->ceiling[bench_floor_peak(p->floor)], b->ceiling[BENCH_FMA_F32]);
    result r = {.samples = n, .of_peak = (double)NAN};
    r.floor = mixed(p->work, f32_work, b->ceiling[p->floor], b->ceiling[BENCH_GEMM_F32]);
    qsort(seconds, (size_t)n, sizeof *seconds, by_value);
    r.median = n % 2 ? seconds[n / 2] : 0.5 * (seconds[n / 2 - 1] + seconds[n / 2]);
    r.least = seconds[0];
    r.rate = p->work / r.median * 1e-9;
    r.fraction = r.floor > 0 ? r.rate / r.floor : (double)NAN;
    if (bench_floor_is_flop(p->floor) && peak > 0) r.of_peak = r.rate / peak;
    return r;
}

static void print_fraction(double f)
{
    if (f >= 0)
        printf(" %8.3f", f);
    else
        printf(" %8s", "-");
}

static void print_row(const bench_part *p, const result *r)
{
    const char *unit = bench_floor_is_flop(p->floor) ? "GFLOP" : "GB";
    printf("%-40s %-4s %10.3f %-5s %10.6f %9.2f %5s/s  %-11s %9.2f", p->name, p->compute,
           p->work * 1e-9, unit, r->median, r->rate, unit, bench_floor_name(p->floor), r->floor);
    print_fraction(r->fraction);
    print_fraction(r->of_peak);
    printf("\n");
    fflush(stdout);
}

void bench_print_head(const bench *b)
{
    if (!b->root) return;
    printf("\n%-40s %-4s %16s %10s %17s  %-11s %9s %8s %8s\n", "part", "type", "work", "seconds",
           "rate", "floor", "G/s", "fraction", "of peak");
}

static void set_shape(qep_json *j, const bench *b)
{
    qep_json_set(j, "ranks", qep_json_new_int(qep_size(b->comm)));
    qep_json_set(j, "threads", qep_json_new_int(b->threads));
    qep_json_set(j, "hidden", qep_json_new_int(b->opt.hidden));
    qep_json_set(j, "inter", qep_json_new_int(b->opt.inter));
    qep_json_set(j, "tokens", qep_json_new_int(b->total_tokens));
    qep_json_set(j, "bits", qep_json_new_int(b->opt.bits));
}

static qep_status write_json(const bench *b, const bench_part *p, const result *r)
{
    qep_json *j = qep_json_new_object();
    qep_json_set(j, "part", qep_json_new_string(p->name));
    qep_json_set(j, "type", qep_json_new_string(p->compute));
    qep_json_set(j, "unit", qep_json_new_string(bench_floor_is_flop(p->floor) ? "flop" : "byte"));
    qep_json_set(j, "work", qep_json_new_real(p->work));
    qep_json_set(j, "seconds", qep_json_new_real(r->median));
    qep_json_set(j, "seconds_least", qep_json_new_real(r->least));
    qep_json_set(j, "samples", qep_json_new_int(r->samples));
    qep_json_set(j, "rate", qep_json_new_real(r->rate * 1e9));
    qep_json_set(j, "floor", qep_json_new_string(bench_floor_name(p->floor)));
    qep_json_set(j, "floor_rate", qep_json_new_real(r->floor * 1e9));
    qep_json_set(j, "fraction", qep_json_new_real(r->fraction));
    qep_json_set(j, "fraction_of_peak", qep_json_new_real(r->of_peak));
    set_shape(j, b);
    char *text = qep_json_text(j, false);
    const bool written = fprintf(b->json, "%s\n", text) > 0 && fflush(b->json) == 0;
    qep_free(text);
    qep_json_free(&j);
    return written ? QEP_OK
                   : qep_fail(QEP_E_IO, "%s: cannot write; is the disk full?", b->opt.json);
}

qep_status bench_time_all(bench *b, const bench_part *p)
{
    return bench_time_mixed_all(b, p, 0);
}

qep_status bench_time_mixed_all(bench *b, const bench_part *p, double f32_work)
{
    double seconds[MAX_SAMPLES + 1], spent = 0;
    const int most = (int)qep_min_i64(b->opt.samples, MAX_SAMPLES) + 1; /* and one to warm up */
    int n = 0;
    b->last_s = (double)NAN;
    if (!bench_wants(b, p->name)) return QEP_OK;
    while (n < most && (n == 0 || spent < (n == 1 ? warm_up_s : budget_s))) {
        QEP_TRY(time_once_all(b, p, &seconds[n]));
        spent += seconds[n++];
    }
    const int warm_up = n > 1;
    const result r = result_of(b, p, f32_work, seconds + warm_up, n - warm_up);
    qep_status st = QEP_OK;
    b->last_s = r.median;
    if (b->root) {
        print_row(p, &r);
        st = write_json(b, p, &r);
    }
    return qep_agree_all(b->comm, st);
}
