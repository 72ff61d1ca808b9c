/* The chosen windows in words, for the log. SPDX-License-Identifier: Apache-2.0 */
#include "qep/data.h"

#include <inttypes.h>
#include <stdlib.h>

/* Sequences [first, *end) are of one kind, file and length. */
static int64_t end_of_run(const qep_corpus *k, int64_t first)
{
    const qep_seq *a = &k->seqs[first];
    int64_t i = first + 1;
    while (i < k->n && k->seqs[i].kind == a->kind && k->seqs[i].set == a->set && k->seqs[i].length == a->length) i++;
    return i;
}

char *qep_corpus_windows(const qep_corpus *k, const qep_config *cfg, int64_t most)
{
    char *text = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);
    QEP_REQUIRE(f);
    for (int64_t i = 0, end; i < k->n && k->seqs[i].kind != QEP_SEQ_TASKS; i = end) {
        const qep_seq *q = &k->seqs[i];
        const bool set = q->kind == QEP_SEQ_EVALUATION;
        end = end_of_run(k, i);
        fprintf(f, "%s%s, %s: %" PRId64 " sequences of %" PRId64 " tokens", i > 0 ? "\n" : "", qep_seq_kind_name(q->kind),
                set ? k->set_names[q->set] : qep_path_base(cfg->calibration_data[q->set]), end - i, q->length);
        if (!set && k->documents[q->set] > 0) fprintf(f, " from %" PRId64 " documents", k->documents[q->set]);
        if (set) continue; /* contiguous, from the start */
        fprintf(f, "; document or row:first token");
        for (int64_t j = i; j < end && j - i < most; j++)
            fprintf(f, "%s%" PRId64 ":%" PRId64, (j - i) % 12 == 0 ? "\n  " : " ", k->seqs[j].row, k->seqs[j].first);
        if (end - i > most) fprintf(f, " ...");
    }
    fclose(f);
    char *copy = qep_strdup("data.windows", text);
    free(text);
    return copy;
}
