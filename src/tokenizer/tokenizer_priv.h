/* Inside of the tokenizer module. SPDX-License-Identifier: Apache-2.0 */
#ifndef TOKENIZER_PRIV_H
#define TOKENIZER_PRIV_H

#include "qep/json.h"
#include "qep/tokenizer.h"

/* --- growing bytes -------------------------------------------------------------------------- */

typedef struct qep_tok_buf {
    char *p; /* owned; NULL while empty */
    int64_t n, cap;
} qep_tok_buf;
void qep_tok_put(qep_tok_buf *b, const char *p, int64_t n);
void qep_tok_buf_free(qep_tok_buf *b);

/* A piece of text. Borrowed. */
typedef struct qep_tok_text {
    const char *p;
    int64_t n;
} qep_tok_text;

/* --- a place in a file, for messages ----------------------------------------------------------- */

typedef struct qep_tok_place {
    const char *source; /* file */
    char path[192];     /* "model.merges[12]"; "" for the whole document */
} qep_tok_place;
qep_tok_place qep_tok_member(const qep_tok_place *at, const char *key);
qep_tok_place qep_tok_item(const qep_tok_place *at, int64_t i);
/* QEP_E_INPUT "file: place: message". */
#define qep_tok_bad(at, ...) qep_tok_bad_at(__FILE__, __LINE__, (at), __VA_ARGS__)
qep_status qep_tok_bad_at(const char *file, int line, const qep_tok_place *at, const char *fmt, ...) QEP_PRINTF(4, 5);

/* Members of an object. A missing member or null leaves *out as it is; `required` makes it an error. */
QEP_MUST_CHECK qep_status qep_tok_get_object(const qep_json *o, const qep_tok_place *at, const char *key, bool required, const qep_json **out);
QEP_MUST_CHECK qep_status qep_tok_get_array(const qep_json *o, const qep_tok_place *at, const char *key, bool required, const qep_json **out);
QEP_MUST_CHECK qep_status qep_tok_get_string(const qep_json *o, const qep_tok_place *at, const char *key, bool required, const char **out);
QEP_MUST_CHECK qep_status qep_tok_get_bool(const qep_json *o, const qep_tok_place *at, const char *key, bool required, bool *out);
QEP_MUST_CHECK qep_status qep_tok_get_id(const qep_json *j, const qep_tok_place *at, int32_t *id); /* a token id in [0, QEP_TOK_MAX_ID] */
enum { QEP_TOK_MAX_ID = (1 << 24) - 1 }; /* larger ids are taken for damage: they would size tables */

/* --- UTF-8 -------------------------------------------------------------------------------------- */

/* Code point at p of valid text; *len bytes. */
uint32_t qep_tok_decode(const char *p, int *len);
int qep_tok_encode_utf8(uint32_t c, char out[4]); /* bytes written */
/* Bytes from `at` up to the first ill-formed sequence; n when there is none. */
int64_t qep_tok_valid_prefix(const char *p, int64_t n, int64_t at);
/* The text with U+FFFD for each maximal ill-formed part, as CPython's decoder with errors="replace" does (Unicode 16, 3.9.6, table 3-7). */
void qep_tok_replace_invalid(const char *p, int64_t n, qep_tok_buf *out);

/* --- Unicode ------------------------------------------------------------------------------------- */

typedef struct qep_tok_category {
    uint32_t first, last;
    char name[3];
} qep_tok_category;
extern const qep_tok_category qep_tok_newer[]; /* characters that came after Unicode 14 */
extern const int qep_tok_n_newer;
bool qep_tok_is_newer(uint32_t c);
bool qep_tok_is_space(uint32_t c); /* White_Space */
bool qep_tok_is_word(uint32_t c);  /* \w of Rust's regex: Alphabetic, M, Nd, Pc, Join_Control */

/* GPT-2's alphabet: a code point for every byte. */
uint32_t qep_tok_byte_char(unsigned char b);
int qep_tok_char_byte(uint32_t c); /* -1: not in the alphabet */
/* The bytes that a text in the alphabet stands for; false when a character is not in it. */
bool qep_tok_alphabet_bytes(const char *p, int64_t n, qep_tok_buf *out);

/* --- text to number ----------------------------------------------------------------------------- */

typedef struct qep_tok_slot {
    uint64_t head; /* of the key: map.c */
    int32_t n;     /* bytes of the key; 0: empty */
    int32_t value;
} qep_tok_slot;
typedef struct qep_tok_map {
    qep_tok_slot *slots; /* owned */
    const char **keys;   /* owned [n_keys]: by value; keys borrowed */
    int64_t cap, n_keys; /* cap: a power of two */
} qep_tok_map;
void qep_tok_map_init(qep_tok_map *m, int64_t count, int64_t values); /* at most `count` keys, values in [0, values) */
void qep_tok_map_free(qep_tok_map *m);
int32_t qep_tok_map_get(const qep_tok_map *m, const char *key, int64_t n); /* -1: absent */
/* false: the key was there, or is empty. A value belongs to one key. */
bool qep_tok_map_add(qep_tok_map *m, const char *key /* [keep] */, int64_t n, int32_t value);

/* --- BPE ------------------------------------------------------------------------------------------ */

typedef struct qep_tok_merge {
    uint32_t left, right, rank;
    int32_t id; /* of the result; -1: empty slot */
} qep_tok_merge;

/* Stored spellings and their ids. */
typedef struct qep_tok_vocab {
    char *text;         /* owned: all spellings */
    const char **piece; /* owned [size]: spelling of an id, NULL for a hole */
    int64_t size, count;
    qep_tok_map ids;
} qep_tok_vocab;
/* at: the place of the object. On failure v is to be closed too. */
QEP_MUST_CHECK qep_status qep_tok_vocab_open(qep_tok_vocab *v, const qep_json *vocab, const qep_tok_place *at);
void qep_tok_vocab_close(qep_tok_vocab *v);

typedef struct qep_tok_bpe {
    const qep_tok_map *vocab; /* borrowed: stored spelling -> id */
    qep_tok_merge *table;     /* owned; hash of pairs */
    uint64_t table_mask;
    int32_t (*merges)[2];     /* owned [n_merges]: pairs by rank */
    int64_t n_merges;
    uint64_t *joins;          /* owned; hash of the pairs of single symbols that some merge can bring together; 0: empty */
    uint64_t joins_mask;
    bool no_cuts;             /* a token that stands for bytes or unk takes part in merges */
    bool byte_level;          /* words arrive as bytes, one symbol each */
    bool byte_fallback, fuse_unk, ignore_merges;
    int32_t unk;              /* -1: none */
    int32_t byte_id[256];     /* byte_level: of the byte's character; else of "<0xNN>"; -1: absent */
    int32_t ascii_id[128];
    qep_tok_map whole;        /* text of a word (byte_level: bytes) that becomes one token -> id */
    int64_t longest;          /* key of it, bytes */
    char *raw;                /* owned: its keys, where they are bytes */
} qep_tok_bpe;

/* Working memory of one encoding, and its result. */
typedef struct qep_tok_work {
    int32_t *ids; /* owned: result */
    int64_t n, cap;
    int32_t *sym; /* owned [sym_cap]: symbols of the run at hand */
    int64_t n_sym, sym_cap;
    struct qep_tok_link *links; /* owned: for long runs */
    struct qep_tok_entry *heap;
    int64_t links_cap, heap_cap;
    struct qep_tok_match *match; /* owned: of regex.c */
} qep_tok_work;
void qep_tok_emit(qep_tok_work *w, int32_t id);
void qep_tok_work_free(qep_tok_work *w);

/* merges: a JSON array, or the text of merges.txt; once, before index. */
QEP_MUST_CHECK qep_status qep_tok_merges_json(qep_tok_bpe *b, const qep_tok_vocab *v, const qep_json *merges, const qep_tok_place *at);
QEP_MUST_CHECK qep_status qep_tok_merges_text(qep_tok_bpe *b, const qep_tok_vocab *v, const char *source, const char *text, int64_t bytes);
void qep_tok_bpe_index(qep_tok_bpe *b, const qep_tok_vocab *v /* [keep] */); /* all flags are set */
void qep_tok_bpe_close(qep_tok_bpe *b);
const qep_tok_merge *qep_tok_find_merge(const qep_tok_bpe *b, int32_t left, int32_t right); /* NULL: none */
bool qep_tok_joins(const qep_tok_bpe *b, int32_t left, int32_t right);
/* Appends the ids of one word; merge_word does it without a look at the word as a whole. */
void qep_tok_bpe_merge_word(const qep_tok_bpe *b, qep_tok_text word, qep_tok_work *w);
QEP_MUST_CHECK qep_status qep_tok_bpe_word(const qep_tok_bpe *b, qep_tok_text word, qep_tok_work *w);

/* --- patterns --------------------------------------------------------------------------------------- */

typedef struct qep_tok_regex qep_tok_regex;
typedef struct qep_tok_match qep_tok_match;
/* pattern: NUL-terminated, in the library's syntax, or a text that stands for itself. */
QEP_MUST_CHECK qep_status qep_tok_regex_open(const char *pattern, bool is_literal, const qep_tok_place *at, qep_tok_regex **out);
void qep_tok_regex_close(qep_tok_regex **r);
const char *qep_tok_regex_source(const qep_tok_regex *r);
/* The first match at or behind `from`; begin = end = text.n when there is none. Matches are never empty. */
QEP_MUST_CHECK qep_status qep_tok_regex_next(const qep_tok_regex *r, qep_tok_text text, int64_t from, qep_tok_work *w, int64_t *begin, int64_t *end);
void qep_tok_match_free(qep_tok_match **m);

/* --- normalizers ------------------------------------------------------------------------------------- */

typedef enum qep_tok_norm_kind {
    QEP_TOK_PREPEND,
    QEP_TOK_REPLACE,
    QEP_TOK_STRIP,
    QEP_TOK_TO_ALPHABET,
    QEP_TOK_NFC,
    QEP_TOK_NFD,
    QEP_TOK_NFKC,
    QEP_TOK_NFKD
} qep_tok_norm_kind;
typedef struct qep_tok_norm {
    qep_tok_norm_kind kind;
    char *text, *what;    /* owned: what is put in; what is replaced, NULL for a pattern */
    qep_tok_regex *regex; /* owned */
    bool left, right;
} qep_tok_norm;
typedef struct qep_tok_norms {
    qep_tok_norm *step; /* owned */
    int64_t n;
} qep_tok_norms;
QEP_MUST_CHECK qep_status qep_tok_norms_open(qep_tok_norms *s, const qep_json *o, const qep_tok_place *at);
void qep_tok_norms_close(qep_tok_norms *s);
/* out: the normalized text; what it held before is lost. begins: false where t goes on with a text that was parted: nothing is prepended. s->n > 0. */
QEP_MUST_CHECK qep_status qep_tok_normalize(const qep_tok_norms *s, qep_tok_text t, bool begins, qep_tok_work *w, qep_tok_buf *out);
QEP_MUST_CHECK qep_status qep_tok_put_form(qep_tok_norm_kind kind, qep_tok_text t, qep_tok_buf *out); /* NFC to NFKD; appends */

/* --- pre-tokenizers ---------------------------------------------------------------------------------- */

typedef enum qep_tok_behavior {
    QEP_TOK_REMOVED,
    QEP_TOK_ISOLATED,
    QEP_TOK_MERGED_WITH_PREVIOUS,
    QEP_TOK_MERGED_WITH_NEXT,
    QEP_TOK_CONTIGUOUS
} qep_tok_behavior;
typedef enum qep_tok_scheme { QEP_TOK_NEVER, QEP_TOK_ALWAYS, QEP_TOK_FIRST } qep_tok_scheme;
typedef enum qep_tok_step_kind { QEP_TOK_SPLIT, QEP_TOK_PREFIX_SPACE, QEP_TOK_METASPACE, QEP_TOK_ALPHABET } qep_tok_step_kind;
typedef struct qep_tok_step {
    qep_tok_step_kind kind;
    qep_tok_regex *regex; /* owned; SPLIT */
    qep_tok_behavior behavior;
    bool invert;
    char mark[5];         /* METASPACE */
    qep_tok_scheme scheme;
} qep_tok_step;
typedef struct qep_tok_splits {
    qep_tok_step *step; /* owned */
    int64_t n;
    bool ends_in_bytes; /* behind the last step comes the byte alphabet */
} qep_tok_splits;
QEP_MUST_CHECK qep_status qep_tok_splits_open(qep_tok_splits *s, const qep_json *o, const qep_tok_place *at);
void qep_tok_splits_close(qep_tok_splits *s);
/* Cuts a segment into words and gives them to the model. first: the segment begins where the text begins. */
QEP_MUST_CHECK qep_status qep_tok_split(const qep_tok_splits *s, const qep_tok_bpe *b, qep_tok_text segment, bool first, qep_tok_work *w);

/* "type" of a normalizer, pre-tokenizer or decoder; depth: of nested sequences. */
QEP_MUST_CHECK qep_status qep_tok_get_type(const qep_json *o, const qep_tok_place *at, int depth, const char **type);
/* "pattern": {"String": ...} or {"Regex": ...}. */
QEP_MUST_CHECK qep_status qep_tok_get_pattern(const qep_json *o, const qep_tok_place *at, const char **pattern, bool *is_literal);
void qep_tok_replace(qep_tok_text text, const char *what, int64_t n, const char *by, qep_tok_buf *out); /* every `what` of n > 0 bytes; appends */
void qep_tok_put_alphabet(qep_tok_text text, qep_tok_buf *out); /* appends the bytes in GPT-2's alphabet */
int64_t qep_tok_last_char(qep_tok_text t);                      /* where the last character begins; t.n > 0 */

/* --- added tokens ------------------------------------------------------------------------------------ */

typedef struct qep_tok_added {
    int32_t id;
    bool single_word, lstrip, rstrip, normalized, special;
    char *content; /* owned */
    char *pattern; /* owned: what is looked for: content, through the normalizer where `normalized` */
} qep_tok_added;
/* One pass over a text: raw text (normalized = false) or normalized text. */
typedef struct qep_tok_matcher {
    const qep_tok_added **token; /* owned [n]; tokens borrowed; sorted by the bytes of pattern */
    int64_t n;
    int64_t first[257];          /* tokens that begin with byte b: [first[b], first[b + 1]) */
} qep_tok_matcher;
/* Two tokens with the same pattern: QEP_E_INPUT. On failure m is to be closed too. */
QEP_MUST_CHECK qep_status qep_tok_matcher_open(qep_tok_matcher *m, const qep_tok_added *added, int64_t n, bool normalized, const qep_tok_place *at);
void qep_tok_matcher_close(qep_tok_matcher *m);
/* Calls emit for each stretch of the text, in order: with an added token, or NULL for text without one (never empty). */
typedef qep_status (*qep_tok_found)(void *ctx, const qep_tok_added *token, int64_t begin, int64_t end);
QEP_MUST_CHECK qep_status qep_tok_matcher_run(const qep_tok_matcher *m, qep_tok_text text, qep_tok_found emit, void *ctx);

/* --- decoders ---------------------------------------------------------------------------------------- */

typedef enum qep_tok_decoder_kind {
    QEP_TOK_DEC_BYTE_LEVEL,
    QEP_TOK_DEC_REPLACE,
    QEP_TOK_DEC_BYTE_FALLBACK,
    QEP_TOK_DEC_FUSE,
    QEP_TOK_DEC_STRIP,
    QEP_TOK_DEC_METASPACE,
    QEP_TOK_DEC_UNKNOWN
} qep_tok_decoder_kind;
typedef struct qep_tok_decoder {
    qep_tok_decoder_kind kind;
    char *what, *by;      /* owned: REPLACE; what: the mark of METASPACE and STRIP, the type of UNKNOWN */
    qep_tok_regex *regex; /* owned; REPLACE by a pattern */
    int64_t start, stop;  /* STRIP */
    bool keep_first;      /* METASPACE: the first mark is a blank too */
} qep_tok_decoder;
typedef struct qep_tok_decoders {
    qep_tok_decoder *step; /* owned */
    int64_t n;
} qep_tok_decoders;
QEP_MUST_CHECK qep_status qep_tok_decoders_open(qep_tok_decoders *s, const qep_json *o, const qep_tok_place *at);
void qep_tok_decoders_close(qep_tok_decoders *s);

/* --- the whole ---------------------------------------------------------------------------------------- */

typedef struct qep_tok_ids {
    int32_t *id; /* owned */
    int64_t n;
} qep_tok_ids;

struct qep_tokenizer {
    qep_tok_vocab vocab;
    qep_tok_bpe bpe;
    qep_tok_norms norms;
    qep_tok_splits splits;
    qep_tok_added *added; /* owned [n_added] */
    int64_t n_added;
    qep_tok_matcher raw, normalized;
    const qep_tok_added **added_of; /* owned [size]: by id, NULL: not added */
    qep_tok_ids front, back;        /* the template's ids */
    qep_tok_decoders decoders;
    qep_tokenizer_family family;
    bool can_part;                  /* parts.c */
    int64_t size;
    int32_t bos, eos;
    uint64_t identity;
};

extern const char qep_tok_gpt2_pattern[], qep_tok_qwen2_pattern[];
extern const char qep_tok_mark[]; /* U+2581, which stands for a blank */
qep_tokenizer_family qep_tok_family(const qep_tokenizer *t);
bool qep_tok_can_part(const qep_tokenizer *t); /* there are texts with a place to part; family and added tokens are known */
/* Parts of a tokenizer.json, each with the place of its own member. */
QEP_MUST_CHECK qep_status qep_tok_added_open(qep_tokenizer *t, const qep_json *root, const qep_tok_place *at);
QEP_MUST_CHECK qep_status qep_tok_template_open(qep_tokenizer *t, const qep_json *root, const qep_tok_place *at);
/* tokenizer_config.json: BOS and EOS, and whether they are added. */
QEP_MUST_CHECK qep_status qep_tok_config_read(qep_tokenizer *t, const qep_json *config, const qep_tok_place *at);

qep_tokenizer *qep_tok_new(void);
void qep_tok_ids_append(qep_tok_ids *list, int32_t id);
/* Where the vocabulary and the merges come from: the JSON itself, or files of their own. */
typedef struct qep_tok_source {
    const qep_json *vocab, *merges; /* merges NULL: text */
    qep_tok_place vocab_at, merges_at;
    const char *merges_text;
    int64_t merges_bytes;
} qep_tok_source;
/* Fills t from the root of a tokenizer.json. On failure t is to be closed. */
QEP_MUST_CHECK qep_status qep_tok_build(qep_tokenizer *t, const qep_json *root, const qep_tok_place *at, const qep_tok_source *m);
/* From vocab.json and merges.txt in the directory. On failure t is to be closed. */
QEP_MUST_CHECK qep_status qep_tok_open_legacy(qep_tokenizer *t, const char *dir);

#endif
