/* Text to token ids: WikiText-2's training part with the GPT-2 vocabulary and two others, each rank the whole file, one thread. The files lie beside the
 * repository, in $QEP_SHARED/data; skipped where they are not there.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <time.h>

#include "qep/tokenizer.h"

#include "bench.h"

typedef struct text_case {
    qep_tokenizer *t;
    char *text;
    int64_t bytes;
    double seconds; /* CPU time of the last run, this rank: what it takes of a core, whatever else runs */
} text_case;

static double cpu_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static qep_status encode(bench *b, void *ctx)
{
    (void)b;
    text_case *c = ctx;
    int32_t *ids;
    int64_t n;
    const double t0 = cpu_seconds();
    QEP_TRY(qep_tokenizer_encode(c->t, c->text, c->bytes, false, &ids, &n));
    c->seconds = cpu_seconds() - t0;
    qep_free(ids);
    return QEP_OK;
}

static qep_status time_one_all(bench *b, const char *name, const char *path, text_case *c)
{
    if (!bench_wants(b, name)) return QEP_OK;
    QEP_TRY(qep_agree_all(b->comm, qep_tokenizer_open(path, &c->t)));
    const double work = (double)c->bytes * qep_size(b->comm);
    qep_status st = bench_time_all(b, &(bench_part){name, "-", work, BENCH_MEMORY, NULL, encode, c});
    if (st == QEP_OK && b->root) printf("%-40s %.1f MB/s of CPU time (rank 0)\n", "", (double)c->bytes / c->seconds * 1e-6);
    qep_tokenizer_close(&c->t);
    return st;
}

qep_status bench_text_all(bench *b)
{
    static const char *const names[][2] = {{"text: encode, GPT-2", "gpt2"}, {"text: encode, Qwen2", "qwen2"}, {"text: encode, Phi-3", "phi3"}};
    const char *shared = getenv("QEP_SHARED");
    if (!bench_wants_section(b, "text")) return QEP_OK;
    text_case c = {0};
    char *path = qep_strf("bench", "%s/data/text/wikitext2/train.txt", shared ? shared : "../shared"), *tokenizer = NULL;
    qep_status st = QEP_OK;
    if (qep_file_exists(path)) {
        QEP_GO(st, qep_agree_all(b->comm, qep_file_read(path, INT64_MAX, QEP_E_INPUT, &c.text, &c.bytes)));
    } else if (b->root) {
        printf("%-40s skipped: no %s (QEP_SHARED)\n", "text: encode", path);
    }
    for (int i = 0; c.text && i < 3; i++) {
        tokenizer = qep_strf("bench", "%s/data/tokenizers/%s/tokenizer.json", shared ? shared : "../shared", names[i][1]);
        if (qep_file_exists(tokenizer)) QEP_GO(st, time_one_all(b, names[i][0], tokenizer, &c));
        qep_free(tokenizer);
        tokenizer = NULL;
    }
done:
    qep_free(tokenizer);
    qep_free(c.text);
    qep_free(path);
    return st;
}
