/* make bench: times each part of a quantization on one block of a random model, and prints its rate
 * beside the ceiling of this machine that bounds it (floors as in the time budget of the design:
 * products against the library's best product, passes over memory against the triad, files against
 * plain writes and reads), all measured in this run.
 * SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "tiny_model.h"

/* As the program chooses: asked for, OMP_NUM_THREADS, else the cores of this rank or its share of
 * the node's. */
static int threads_of(const bench *b)
{
    if (b->opt.threads > 0) return qep_int(b->opt.threads);
    const char *env = getenv("OMP_NUM_THREADS");
    if (env && *env) return omp_get_max_threads();
    return qep_int(qep_max_i64(1, omp_get_num_procs() / qep_node_size(b->comm)));
}

static qep_status write_model(const bench *b, const char *dir)
{
    const bench_options *o = &b->opt;
    const tiny_model m = {.hidden = o->hidden,
                          .inter = o->inter,
                          .blocks = 1,
                          .heads = o->heads,
                          .kv_heads = o->kv,
                          .vocab = o->vocab,
                          .dtype = QEP_BF16,
                          .tied = true,
                          .seed = 1,
                          .shards = 1};
    tiny_remove_dir(b->work_dir);
    QEP_TRY(qep_dir_make(b->work_dir));
    return tiny_model_write(dir, &m);
}

/* The folder, the model in it, the file of results. */
static qep_status open_all(bench *b)
{
    char *dir = qep_path_join(b->work_dir, "model");
    qep_status st = QEP_OK;
    if (b->root) {
        st = write_model(b, dir);
        if (st == QEP_OK) b->json = fopen(b->opt.json, "w");
        if (st == QEP_OK && !b->json)
            st = qep_fail(QEP_E_IO, "%s: cannot create: %s; choose another file with --json",
                          b->opt.json, strerror(errno));
    }
    st = qep_agree_all(b->comm, st);
    if (st == QEP_OK) st = qep_model_open_all(b->comm, dir, &b->model);
    qep_free(dir);
    return st;
}

static qep_status group_all(bench *b, int role_group)
{
    static const char *const sections[] = {"statistics", "factor", "correction", "quantize", "transforms"};
    bench_group g = {0};
    bool wanted = false;
    for (size_t i = 0; i < sizeof sections / sizeof sections[0]; i++)
        wanted = wanted || bench_wants_section(b, sections[i]);
    if (!wanted) return QEP_OK;
    qep_status st;
    QEP_GO(st, bench_group_open_all(b, role_group, &g));
    QEP_GO(st, bench_solve_all(b, &g));
    QEP_GO(st, bench_quantize_all(b, &g));
    QEP_GO(st, bench_transforms_all(b, &g));
done:
    bench_group_close_all(&g);
    return st;
}

static qep_status parts_all(bench *b)
{
    QEP_TRY(bench_machine_all(b));
    bench_print_head(b);
    QEP_TRY(bench_kernels_all(b));
    QEP_TRY(bench_streams_all(b));
    QEP_TRY(group_all(b, 2));
    QEP_TRY(group_all(b, 3));
    QEP_TRY(bench_output_all(b));
    QEP_TRY(bench_files_all(b));
    return bench_text_all(b);
}

static qep_status bench_all(bench *b)
{
    int64_t first;
    char text[32];
    b->work_dir = qep_path_join(b->opt.dir, "work");
    b->total_tokens = b->opt.sequences * b->opt.tokens;
    qep_partition(b->opt.sequences, qep_size(b->comm), qep_rank(b->comm), &first, &b->n_seq);
    b->threads = threads_of(b);
    qep_linalg_start(b->threads);
    qep_status st = open_all(b);
    if (st == QEP_OK) st = parts_all(b);
    if (st == QEP_OK && b->root) {
        const char *peak = qep_format_bytes(qep_mem_peak(), text, sizeof text);
        printf("\nlargest memory of rank 0 %s; results in %s\n", peak, b->opt.json);
    }
    if (b->json) fclose(b->json);
    qep_model_close(&b->model);
    qep_barrier_all(b->comm);
    if (b->root) tiny_remove_dir(b->work_dir);
    qep_free(b->work_dir);
    return st;
}

int main(int argc, char **argv)
{
    qep_linalg_fix_core_type(argv);
    bench b = {.comm = qep_par_start(&argc, &argv)};
    b.root = qep_rank(b.comm) == 0;
    qep_log_start(b.root, QEP_LOG_ERROR);
    qep_status st = bench_options_parse(argc, argv, &b.opt);
    if (st == QEP_OK && b.opt.help) {
        if (b.root) printf("%s", bench_usage);
    } else if (st == QEP_OK) {
        st = bench_all(&b);
    }
    if (st != QEP_OK && b.root) fprintf(stderr, "bench_parts: %s\n", qep_error_text());
    qep_par_end(&b.comm);
    return qep_status_exit_code(st);
}
