/* Where the documents of a text lie, what a line of jsonl says, and bytes that are no UTF-8. Functions on memory.
 * SPDX-License-Identifier: Apache-2.0 */
#include "text_priv.h"

#include "qep/json.h"

#include <string.h>

void qep_document_index_start(qep_document_index *x, qep_document_kind kind)
{
    *x = (qep_document_index){.kind = kind, .blank = true};
}

/* The lists have room for a power of two of documents. */
static void add(qep_document_index *x, int64_t begin, int64_t end)
{
    if ((x->n & (x->n - 1)) == 0) {
        x->begin = qep_realloc(x->begin, "data.documents", qep_max_i64(1, 2 * x->n), sizeof *x->begin);
        x->end = qep_realloc(x->end, "data.documents", qep_max_i64(1, 2 * x->n), sizeof *x->end);
    }
    x->begin[x->n] = begin;
    x->end[x->n++] = end;
}

static void end_block(qep_document_index *x)
{
    if (x->open) x->end[x->n - 1] = x->last_end;
    x->open = false;
}

/* The line [x->line, end) is complete. */
static void end_line(qep_document_index *x, int64_t end)
{
    if (x->kind == QEP_DOCUMENT_LINES && !x->blank) add(x, x->line, end);
    if (x->kind == QEP_DOCUMENT_BLOCKS && x->blank) end_block(x);
    if (x->kind == QEP_DOCUMENT_BLOCKS && !x->blank) {
        if (!x->open) add(x, x->line, end);
        x->open = true;
        x->last_end = end;
    }
    x->blank = true;
}

void qep_document_index_feed(qep_document_index *x, const char *s, int64_t n)
{
    for (int64_t i = 0; i < n && x->kind != QEP_DOCUMENT_FILE; i++) {
        if (s[i] == '\n') {
            end_line(x, x->at + i);
            x->line = x->at + i + 1;
        } else if (s[i] != ' ' && s[i] != '\t' && s[i] != '\r') {
            x->blank = false;
        }
    }
    x->at += n;
}

void qep_document_index_end(qep_document_index *x)
{
    if (x->kind == QEP_DOCUMENT_FILE && x->at > 0) add(x, 0, x->at);
    end_line(x, x->at);
    end_block(x);
}

void qep_document_index_free(qep_document_index *x)
{
    qep_free(x->begin);
    qep_free(x->end);
    *x = (qep_document_index){.n = 0};
}

qep_status qep_jsonl_text(const char *line, int64_t n, const char *field, const char *source, char **text)
{
    qep_json *o = NULL;
    *text = NULL;
    QEP_TRY(qep_json_parse(line, n, source, QEP_E_INPUT, &o));
    const qep_json *v = qep_json_get(o, field);
    qep_status st = QEP_OK;
    if (qep_json_type(o) != QEP_JSON_OBJECT)
        st = qep_fail(QEP_E_INPUT, "%s: not an object; a line of jsonl is {\"%s\": \"...\"}", source, field);
    else if (!v)
        st = qep_fail(QEP_E_INPUT, "%s: the object has no member \"%s\"; [calibration] field names the one that holds the text", source, field);
    else if (qep_json_type(v) != QEP_JSON_STRING)
        st = qep_fail(QEP_E_INPUT, "%s: the member \"%s\" is no string; [calibration] field names the one that holds the text", source, field);
    else
        *text = qep_strdup("data.text", qep_json_string(v));
    qep_json_free(&o);
    return st;
}

/* The byte begins a character: how many more there must be, and between which bounds the next one. The second byte is narrower for some first ones:
 * no overlong forms, no surrogates, nothing above U+10FFFF. */
static void begin_character(qep_utf8_tally *u, unsigned char b)
{
    const int more = b < 0x80 ? 0 : b >= 0xC2 && b <= 0xDF ? 1 : b >= 0xE0 && b <= 0xEF ? 2 : b >= 0xF0 && b <= 0xF4 ? 3 : -1;
    u->more = more > 0 ? more : 0;
    u->low = b == 0xE0 ? 0xA0 : b == 0xF0 ? 0x90 : 0x80;
    u->high = b == 0xED ? 0x9F : b == 0xF4 ? 0x8F : 0xBF;
    u->characters += more <= 0;
    u->wrong += more < 0;
}

void qep_utf8_feed(qep_utf8_tally *u, const char *s, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        const unsigned char b = (unsigned char)s[i];
        if (u->more > 0 && b >= u->low && b <= u->high) {
            u->characters += --u->more == 0;
            u->low = 0x80;
            u->high = 0xBF;
        } else {
            qep_utf8_end(u);
            begin_character(u, b);
        }
    }
}

void qep_utf8_end(qep_utf8_tally *u)
{
    u->wrong += u->more > 0;
    u->characters += u->more > 0;
    u->more = 0;
}
