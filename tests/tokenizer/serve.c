/* serve TOKENIZER: encodes and decodes what stdin asks for, so that a script can compare with another program. A request: int64 kind (0: encode, 1: encode
 * with the template, 2: decode, 3: decode without special tokens, 4: as 1, in as many parts as there are), int64 size in bytes, then text or int32 ids. The answer: int64 size in bytes, then ids
 * or text; size -1 and a line of text (int64 size, bytes) on failure. Native byte order. SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "qep/tokenizer.h"

static int read_all(void *to, size_t n)
{
    return fread(to, 1, n, stdin) == n;
}

static void answer(const void *data, int64_t bytes)
{
    fwrite(&bytes, sizeof bytes, 1, stdout);
    if (bytes > 0) fwrite(data, 1, (size_t)bytes, stdout);
}

static qep_status encode_parts(const qep_tokenizer *t, const char *text, int64_t bytes, int32_t **ids, int64_t *n)
{
    qep_status st = QEP_OK;
    int64_t at = 0, end = 0, cap = 0;
    *ids = NULL;
    *n = 0;
    for (bool last = false; !last && st == QEP_OK; at = end) {
        int32_t *part;
        int64_t m;
        end = qep_tokenizer_part(t, text, bytes, at + 1);
        last = end < 0;
        if (last) end = bytes;
        st = qep_tokenizer_encode_part(t, text + at, end - at, true, at == 0, last, &part, &m);
        if (st != QEP_OK) break;
        if (*n + m >= cap) {
            cap = 2 * (*n + m + 1);
            *ids = qep_realloc(*ids, "serve", cap, sizeof **ids);
        }
        memcpy(*ids + *n, part, (size_t)m * sizeof *part);
        *n += m;
        qep_free(part);
    }
    return st;
}

static void serve(const qep_tokenizer *t, int64_t kind, const char *data, int64_t bytes)
{
    int32_t *ids = NULL;
    char *text = NULL;
    int64_t n = 0;
    qep_status st;
    if (kind < 2 || kind == 4) {
        st = kind == 4 ? encode_parts(t, data, bytes, &ids, &n) : qep_tokenizer_encode(t, data, bytes, kind == 1, &ids, &n);
        n *= (int64_t)sizeof *ids;
    } else {
        st = qep_tokenizer_decode(t, (const int32_t *)(const void *)data, bytes / (int64_t)sizeof *ids, kind == 3, &text, &n);
    }
    if (st != QEP_OK) {
        const int64_t failed = -1;
        fwrite(&failed, sizeof failed, 1, stdout);
        answer(qep_error_text(), (int64_t)strlen(qep_error_text()));
    } else {
        answer(ids ? (const void *)ids : (const void *)text, n);
    }
    fflush(stdout);
    qep_free(ids);
    qep_free(text);
}

int main(int argc, char **argv)
{
    qep_tokenizer *t = NULL;
    int64_t head[2];
    if (argc != 2 || qep_tokenizer_open(argv[1], &t) != QEP_OK) {
        fprintf(stderr, "%s\n", argc == 2 ? qep_error_text() : "usage: serve TOKENIZER");
        return 2;
    }
    while (read_all(head, sizeof head)) {
        char *data = qep_alloc("serve", head[1] + 1, 1);
        if (!read_all(data, (size_t)head[1])) return 2;
        serve(t, head[0], data, head[1]);
        qep_free(data);
    }
    qep_tokenizer_close(&t);
    return qep_mem_blocks() == 0 ? 0 : 3;
}
