/* Inside data: text files, from bytes over documents to token ids. SPDX-License-Identifier: Apache-2.0 */
#ifndef QEP_TEXT_PRIV_H
#define QEP_TEXT_PRIV_H

#include "qep/data.h"
#include "qep/tokenizer.h"

/* --- plain files: errors are QEP_E_INPUT when the file is missing or too short, else QEP_E_IO ------------ */

QEP_MUST_CHECK qep_status qep_open(const char *path, int *fd);
qep_status qep_open_fail(const char *path, int err); /* err: errno */
QEP_MUST_CHECK qep_status qep_pread(const char *path, int fd, void *dst, int64_t n, int64_t at);

/* --- bytes ------------------------------------------------------------------------------------- */

typedef struct qep_bytes {
    char *path;
    int64_t n;            /* of the text, unpacked */
    int fd;               /* -1: unpacked */
    qep_window *unpacked; /* of a .gz, NULL else */
} qep_bytes;
/* On error too, qep_bytes_close_all is due. QEP_E_INPUT, QEP_E_IO. */
QEP_MUST_CHECK qep_status qep_bytes_open_all(qep_comm *c, const char *path, qep_bytes *out);
void qep_bytes_close_all(qep_bytes *b);
/* n bytes from `at`. Local. */
QEP_MUST_CHECK qep_status qep_bytes_read(const qep_bytes *b, int64_t at, int64_t n, char *dst);

/* --- documents: where they lie; functions on memory ------------------------------------------------ */

typedef enum qep_document_kind {
    QEP_DOCUMENT_FILE,   /* all of the text is one */
    QEP_DOCUMENT_BLOCKS, /* lines between lines of nothing but blanks */
    QEP_DOCUMENT_LINES   /* every line that is not blank (jsonl) */
} qep_document_kind;
/* Fed with a text piece by piece; afterwards document i is [begin[i], end[i]). */
typedef struct qep_document_index {
    qep_document_kind kind;
    int64_t n, *begin, *end;
    int64_t at, line, last_end; /* bytes fed; where the line at hand began, where the last one that is not blank ended */
    bool blank, open;           /* the line at hand has only blanks; a block has begun at begin[n] */
} qep_document_index;
void qep_document_index_start(qep_document_index *x, qep_document_kind kind);
void qep_document_index_feed(qep_document_index *x, const char *s, int64_t n);
void qep_document_index_end(qep_document_index *x);
void qep_document_index_free(qep_document_index *x);
/* The text in `field` of the object in a line of jsonl. source: "file:line" for messages. *text: qep_free, NUL-terminated.
 * QEP_E_INPUT: no JSON, no object, field missing or no string. */
QEP_MUST_CHECK qep_status qep_jsonl_text(const char *line, int64_t n, const char *field, const char *source, char **text);
/* Characters that decoding as UTF-8 makes, and those of them that replace what is none: one per longest start of a character that goes wrong (Unicode 15,
 * 3.9, table 3-7). Starts as zeros; fed with a text piece by piece. */
typedef struct qep_utf8_tally {
    int64_t characters, wrong;
    int more;                /* bytes that the character at hand still lacks */
    unsigned char low, high; /* bounds of the next one */
} qep_utf8_tally;
void qep_utf8_feed(qep_utf8_tally *u, const char *s, int64_t n);
void qep_utf8_end(qep_utf8_tally *u);

/* --- a text file with its tokenizer ----------------------------------------------------------------- */

typedef struct qep_text_rules {
    const qep_tokenizer *tokenizer;
    const char *field;   /* of jsonl objects */
    bool blocks;         /* .txt: blank lines separate documents */
    const char *as_one;  /* NULL; or the file is one text, its documents joined by this */
    bool special;        /* the tokenizer puts its BOS and EOS around each text */
    int32_t front;       /* put in front of each text besides, -1: nothing */
    int32_t behind;      /* put behind each text besides, -1: nothing */
    int64_t margin;      /* tokens at the end of a document that no drawn window reaches */
    int64_t vocab;       /* ids at or above are an error */
} qep_text_rules;
/* A place in a text: document of the index, byte of its text. */
typedef struct qep_text_place {
    int64_t doc, at;
} qep_text_place;
typedef struct qep_text {
    qep_bytes bytes;
    qep_text_rules rules;
    qep_document_index index;
    int64_t n;           /* documents; parts when as_one */
    qep_text_place *parts; /* as_one: [n + 1] part i is [parts[i], parts[i + 1]), places where the tokenizer can part the text; NULL else */
    int64_t wrong_utf8;  /* places in the file that are no UTF-8 */
    int64_t *length;     /* tokens of each document, -1: not known; made by random draws */
    bool *used;          /* by a calibration window */
} qep_text;
bool qep_text_is(const char *path); /* .txt, .jsonl or .json, with or without .gz */
/* Opens and finds the documents: root reads the file once. QEP_E_INPUT: nothing in it, a NUL, or more than one character in a hundred that is no UTF-8. */
QEP_MUST_CHECK qep_status qep_text_open_all(qep_comm *c, const char *path, const qep_text_rules *rules, qep_text **out);
void qep_text_close_all(qep_text **t);
/* Bytes of document or part i in the file, for dealing out work. */
int64_t qep_text_bytes(const qep_text *t, int64_t i);
/* Bytes [from, to) of the text of document i of the index; both may be beyond its end. *text: qep_free. QEP_E_INPUT names file and line. Local. */
QEP_MUST_CHECK qep_status qep_text_read_stretch(const qep_text *t, int64_t i, int64_t from, int64_t to, char **text, int64_t *n);
/* Finds the parts of an as_one text (parts.c). Collective. */
QEP_MUST_CHECK qep_status qep_text_part_all(qep_comm *c, qep_text *t);
int64_t qep_text_part_bytes(const qep_text *t, int64_t i);
QEP_MUST_CHECK qep_status qep_text_read_part(const qep_text *t, int64_t i, char **text, int64_t *n);
/* Ids of document or part i, with what belongs in front and behind. *ids: qep_free. Local. */
QEP_MUST_CHECK qep_status qep_text_encode(qep_text *t, int64_t i, int32_t **ids, int64_t *n);

/* --- documents as one line of tokens, spread over ranks ------------------------------------------------ */

/* Tokens of the first n_docs documents, one behind the other; each document's ids are on one rank. Equal on all ranks but for ids. */
typedef struct qep_line {
    int64_t n_docs;
    int64_t *begin;  /* [n_docs + 1] first token of each document in the line */
    int *owner;      /* [n_docs] the rank that holds its ids */
    int64_t *place;  /* [n_docs] where they begin there */
    int32_t *ids;    /* mine */
    int64_t n_mine;
} qep_line;
/* Tokenizes documents in order, each on one rank, until there are `want` tokens (window 0), or `want` windows of so many tokens inside documents, or no more
 * documents. How many are tokenized does not depend on the number of ranks. */
QEP_MUST_CHECK qep_status qep_line_make_all(qep_comm *c, qep_text *t, int64_t want, int64_t window, qep_line *out);
void qep_line_free(qep_line *l);
/* One stretch of the line for one rank. */
typedef struct qep_fetch {
    int64_t first, n;
    int rank;
    int32_t *dst; /* there */
} qep_fetch;
/* The same list on all ranks, but for dst. */
void qep_line_fetch_all(qep_comm *c, const qep_line *l, const qep_fetch *list, int64_t n);

/* --- the C4 rule ----------------------------------------------------------------------------------------- */

/* Draws a document as the published codes do for C4: random.randint(0, n - 1) until one has at least `length` tokens, then its window's
 * start = random.randint(0, tokens - length); with a margin of 1 as GPTAQ's and ResComp's codes do: randint(0, tokens - length - 1), where a
 * document of exactly `length` tokens, on which they end with an error, is passed over. fresh: documents with `used` set are passed over too. *doc = -1 when there is none (left). Ranks look at the next
 * candidates together; what is drawn does not depend on their number. */
QEP_MUST_CHECK qep_status qep_text_draw_all(qep_comm *c, qep_text *t, qep_mt19937 *r, int64_t length, bool fresh, int64_t *doc, int64_t *first);

#endif
