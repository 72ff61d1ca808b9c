/* The ceilings of this machine, with all ranks and threads at work at once: arithmetic, the
 * library's products, memory, disk.
 * SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <omp.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"

enum { M = 1024, N = 2048, K = 2048 }; /* product of one thread: 8.6 GFLOP */
/* Ceilings are the best of several short rounds, kind after kind: other programs can only lower
 * them, and often do for a second or so. */
static const double measure_s = 0.1;
enum { ROUNDS = 5 };

/* rate: of this rank, all ranks at work. */
static void raise_ceiling_all(bench *b, bench_floor floor, double rate)
{
    qep_sum_f64_all(b->comm, &rate, 1);
    if (rate > b->ceiling[floor]) b->ceiling[floor] = rate;
}

/* --- arithmetic and products ------------------------------------- */

/* Operands of one type at a time, with room for f64. b is shared by the threads. */
typedef struct operands {
    char *a, *b, *c;
} operands;
enum { ENTRY = sizeof(double) };

static operands thread_operands(const operands *all, int thread)
{
    return (operands){all->a + (int64_t)thread * M * K * ENTRY, all->b,
                      all->c + (int64_t)thread * M * N * ENTRY};
}

typedef void (*product)(const operands *o);

static void product_f32(const operands *o)
{
    qep_gemm_f32(true, M, N, K, 1.0F, (const float *)(const void *)o->a, K,
                 (const float *)(const void *)o->b, K, 0.0F, (float *)(void *)o->c, N);
}

static void product_f64(const operands *o)
{
    qep_gemm_f64(true, M, N, K, 1.0, (const double *)(const void *)o->a, K,
                 (const double *)(const void *)o->b, K, 0.0, (double *)(void *)o->c, N);
}

static void product_bf16(const operands *o)
{
    qep_tile_tn_bf16((float *)(void *)o->c, N, (const uint16_t *)(const void *)o->a, M,
                     (const uint16_t *)(const void *)o->b, N, M, N, K);
}

/* As a linear of the forward pass, cut into tiles on this thread alone. */
static void linear_bf16(const operands *o)
{
    qep_linear_bf16((float *)(void *)o->c, N, (const uint16_t *)(const void *)o->a, K,
                    (const uint16_t *)(const void *)o->b, M, K, N);
}

/* GFLOP/s of this rank: every thread multiplies on its own until the time is over. */
static double product_rate(product run, const operands *all)
{
    double total = 0;
#pragma omp parallel reduction(+ : total)
    {
        const operands mine = thread_operands(all, omp_get_thread_num());
        run(&mine);
        const double t0 = qep_now_s();
        double calls = 0, now = t0;
        while (now - t0 < measure_s || calls == 0) {
            run(&mine);
            calls += 1;
            now = qep_now_s();
        }
        total += calls * 2.0 * M * N * K / (now - t0);
    }
    return total * 1e-9;
}

static void fill_operand(char *dst, qep_dtype type, int64_t n, uint64_t seed)
{
    float *x = bench_noise(n, 1.0, seed);
    qep_from_f32(dst, type, x, n);
    qep_free(x);
}

/* Thread k's matrix starts at entry k M K of 8 bytes, so each is filled by itself. */
static void fill_operands(const operands *all, int threads, qep_dtype type)
{
    for (int k = 0; k < threads; k++)
        fill_operand(thread_operands(all, k).a, type, (int64_t)M * K, 1);
    fill_operand(all->b, type, (int64_t)N * K, 2);
}

static void measure_products_all(bench *b)
{
    static const struct {
        bench_floor floor;
        product run;
        qep_dtype type;
    } list[] = {{BENCH_GEMM_F32, product_f32, QEP_F32},
                {BENCH_GEMM_F64, product_f64, QEP_F64},
                {BENCH_GEMM_BF16, product_bf16, QEP_BF16},
                {BENCH_GEMM_BF16, linear_bf16, QEP_BF16}}; /* the better one counts */
    operands all = {.a = qep_alloc("bench", (int64_t)b->threads * M * K, ENTRY),
                    .b = qep_alloc("bench", (int64_t)N * K, ENTRY),
                    .c = qep_alloc("bench", (int64_t)b->threads * M * N, ENTRY)};
    for (int round = 0; round < ROUNDS; round++)
        for (size_t i = 0; i < sizeof list / sizeof list[0]; i++) {
            fill_operands(&all, b->threads, list[i].type);
            qep_barrier_all(b->comm);
            raise_ceiling_all(b, list[i].floor, product_rate(list[i].run, &all));
        }
    qep_free(all.a);
    qep_free(all.b);
    qep_free(all.c);
}

static void measure_peaks_all(bench *b)
{
    static const struct {
        bench_floor floor;
        double (*run)(double seconds);
    } list[] = {{BENCH_FMA_F32, qep_peak_f32_gflops},
                {BENCH_FMA_F64, qep_peak_f64_gflops},
                {BENCH_FMA_BF16, qep_peak_bf16_gflops}};
    for (int round = 0; round < ROUNDS; round++)
        for (size_t i = 0; i < sizeof list / sizeof list[0]; i++) {
            qep_barrier_all(b->comm);
            raise_ceiling_all(b, list[i].floor, list[i].run(measure_s));
        }
}

/* --- memory ------------------------------------------------------ */

/* Triad a = b + 3 c over arrays far larger than the caches, 12 bytes per element; the best of
 * several passes. */
static void measure_memory_all(bench *b)
{
    enum { NODE_ELEMENTS = 64 << 20, LEAST = 2 << 20, PASSES = 4 };
    const int64_t n = qep_max_i64(LEAST, NODE_ELEMENTS / qep_node_size(b->comm));
    float *x = bench_noise(n, 1.0, 1), *y = bench_noise(n, 1.0, 2), *z = bench_noise(n, 1.0, 3);
    double best = 0;
    for (int round = 0; round < ROUNDS; round++) {
        qep_barrier_all(b->comm);
        const double t0 = qep_now_s();
        for (int pass = 0; pass < PASSES; pass++) {
#pragma omp parallel for schedule(static)
            for (int64_t i = 0; i < n; i++) x[i] = y[i] + 3.0F * z[i];
        }
        double seconds = qep_now_s() - t0;
        qep_max_f64_all(b->comm, &seconds, 1);
        const double rate = 12.0 * (double)n * PASSES * qep_size(b->comm) / seconds * 1e-9;
        best = rate > best ? rate : best;
    }
    b->ceiling[BENCH_MEMORY] = best;
    qep_free(x);
    qep_free(y);
    qep_free(z);
}

/* --- disk -------------------------------------------------------- */

enum { CHUNK = 8 << 20, JOB_CHUNKS = 32 };

typedef struct disk {
    char *path;
    int64_t chunks; /* of this rank */
    char *buffer;
    int fd;
} disk;

static qep_status disk_failed(const disk *d, const char *what)
{
    return qep_fail(QEP_E_IO, "%s: cannot %s: %s", d->path, what, strerror(errno));
}

static qep_status write_chunks(disk *d)
{
    for (int64_t i = 0; i < d->chunks; i++)
        if (pwrite(d->fd, d->buffer, CHUNK, i * CHUNK) != CHUNK) return disk_failed(d, "write");
    return QEP_OK;
}

static qep_status sync_chunks(disk *d)
{
    return fsync(d->fd) == 0 ? QEP_OK : disk_failed(d, "sync");
}

static qep_status read_chunks(disk *d)
{
    for (int64_t i = 0; i < d->chunks; i++)
        if (pread(d->fd, d->buffer, CHUNK, i * CHUNK) != CHUNK) return disk_failed(d, "read");
    return QEP_OK;
}

/* Adds the seconds of the slowest rank. */
static qep_status step_all(bench *b, disk *d, qep_status (*step)(disk *), double *seconds)
{
    qep_barrier_all(b->comm);
    const double t0 = qep_now_s();
    qep_status st = step(d);
    double s = qep_now_s() - t0;
    QEP_TRY(qep_agree_all(b->comm, st));
    qep_max_f64_all(b->comm, &s, 1);
    *seconds += s;
    return QEP_OK;
}

/* A new file on every rank: written, synced, read back from the page cache. */
static qep_status disk_round_all(bench *b, disk *d, double bytes)
{
    double written = 0, synced = 0, read = 0;
    d->fd = open(d->path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    QEP_TRY(qep_agree_all(b->comm, d->fd >= 0 ? QEP_OK : disk_failed(d, "create")));
    QEP_TRY(step_all(b, d, write_chunks, &written));
    QEP_TRY(step_all(b, d, sync_chunks, &synced));
    QEP_TRY(step_all(b, d, read_chunks, &read));
    const double rates[3] = {bytes / written * 1e-9, bytes / (written + synced) * 1e-9,
                             bytes / read * 1e-9};
    for (int i = 0; i < 3; i++)
        if (rates[i] > b->ceiling[BENCH_WRITE + i]) b->ceiling[BENCH_WRITE + i] = rates[i];
    return QEP_OK;
}

static qep_status measure_disk_all(bench *b)
{
    const int64_t each = qep_max_i64(1, JOB_CHUNKS / qep_size(b->comm));
    disk d = {.path = qep_strf("bench", "%s/disk.%d", b->work_dir, qep_rank(b->comm)),
              .chunks = each,
              .fd = -1};
    qep_status st = QEP_OK;
    d.buffer = qep_alloc("bench", CHUNK, 1);
    memset(d.buffer, 'q', CHUNK);
    for (int round = 0; round < 3 && st == QEP_OK; round++) {
        st = disk_round_all(b, &d, (double)each * CHUNK * qep_size(b->comm));
        if (d.fd >= 0) close(d.fd);
        unlink(d.path);
    }
    qep_free(d.buffer);
    qep_free(d.path);
    return st;
}

/* --- what it is -------------------------------------------------- */

/* "model name : X" of the first processor. */
static void cpu_name(char *out, size_t cap)
{
    char line[256];
    FILE *f = fopen("/proc/cpuinfo", "r");
    snprintf(out, cap, "unknown");
    while (f && fgets(line, sizeof line, f)) {
        const char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) != 0 || !colon) continue;
        snprintf(out, cap, "%s", colon + 2);
        out[strcspn(out, "\n")] = '\0';
        break;
    }
    if (f) fclose(f);
}

/* Runnable processes of the node in the last minute, before this program added its own; 0 when
 * unknown. */
static double load_average(void)
{
    double load = 0;
    FILE *f = fopen("/proc/loadavg", "r");
    if (f && fscanf(f, "%lf", &load) != 1) load = 0;
    if (f) fclose(f);
    return load;
}

static void print_machine(const bench *b, const char *cpu, double load)
{
    const bench_options *o = &b->opt;
    printf("CPU      %s\n", cpu);
    printf("ranks    %d on %d node%s, %d thread%s each; %s\n", qep_size(b->comm),
           qep_n_nodes(b->comm), qep_n_nodes(b->comm) == 1 ? "" : "s", b->threads,
           b->threads == 1 ? "" : "s", qep_par_library());
    printf("kernels  %s\n", qep_linalg_describe());
    if (qep_linalg_warning()) printf("warning  %s\n", qep_linalg_warning());
    if (load > 0.5)
        printf("warning  load average %.1f at the start: other programs share the cores, all "
               "figures are noisy\n",
               load);
    printf("build    %s\n", qep_build_id);
    printf("shape    hidden %lld, inter %lld, heads %lld / %lld, vocab %lld; %lld sequences of "
           "%lld tokens; %lld bits, group %lld\n",
           (long long)o->hidden, (long long)o->inter, (long long)o->heads, (long long)o->kv,
           (long long)o->vocab, (long long)o->sequences, (long long)o->tokens, (long long)o->bits,
           (long long)o->group);
    printf("ceilings of the job, measured now:\n");
    for (int f = 0; f < BENCH_N_FLOORS; f++)
        printf("         %-12s %9.2f %s\n", bench_floor_name((bench_floor)f), b->ceiling[f],
               bench_floor_is_flop((bench_floor)f) ? "GFLOP/s" : "GB/s");
}

/* First line of the file of results. */
static qep_status write_machine(const bench *b, const char *cpu, double load)
{
    qep_json *j = qep_json_new_object(), *c = qep_json_new_object();
    qep_json_set(j, "cpu", qep_json_new_string(cpu));
    qep_json_set(j, "host", qep_json_new_string(qep_host(b->comm)));
    qep_json_set(j, "kernels", qep_json_new_string(qep_linalg_describe()));
    qep_json_set(j, "build", qep_json_new_string(qep_build_id));
    qep_json_set(j, "time", qep_json_new_int(qep_wall_time_s()));
    qep_json_set(j, "load", qep_json_new_real(load));
    qep_json_set(j, "ranks", qep_json_new_int(qep_size(b->comm)));
    qep_json_set(j, "threads", qep_json_new_int(b->threads));
    for (int f = 0; f < BENCH_N_FLOORS; f++)
        qep_json_set(c, bench_floor_name((bench_floor)f), qep_json_new_real(b->ceiling[f] * 1e9));
    qep_json_set(j, "ceilings", c);
    char *text = qep_json_text(j, false);
    const bool written = fprintf(b->json, "%s\n", text) > 0;
    qep_free(text);
    qep_json_free(&j);
    return written ? QEP_OK
                   : qep_fail(QEP_E_IO, "%s: cannot write; is the disk full?", b->opt.json);
}

qep_status bench_machine_all(bench *b)
{
    char cpu[128];
    const double load = load_average();
    qep_status st = QEP_OK;
    measure_peaks_all(b);
    measure_products_all(b);
    measure_memory_all(b);
    QEP_TRY(measure_disk_all(b));
    if (b->root) {
        cpu_name(cpu, sizeof cpu);
        print_machine(b, cpu, load);
        st = write_machine(b, cpu, load);
    }
    return qep_agree_all(b->comm, st);
}
