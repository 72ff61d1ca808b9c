/* tokenizer: text to token ids and back, from the tokenizer.json of Hugging Face's `tokenizers` library (0.23; its sources are the specification:
 * github.com/huggingface/tokenizers, folder tokenizers/src). BPE models only: byte-level (GPT-2, Llama-3, Qwen) and characters with byte fallback
 * (Llama-2, Mistral, Phi-3). Ids agree with that library exactly; a part that this module does not know is refused by name when the file is opened.
 * An open tokenizer never changes: several threads may use one at once. SPDX-License-Identifier: Apache-2.0 */
#ifndef QEP_TOKENIZER_H
#define QEP_TOKENIZER_H

#include "qep/base.h"

typedef struct qep_tokenizer qep_tokenizer;

/* path: a model directory or a tokenizer.json. In a directory tokenizer.json is read, or, where there is none, vocab.json and merges.txt (with
 * added_tokens.json) in the way of tokenizer_config.json's tokenizer_class: GPT-2's, also where no class is named, or Qwen2's. tokenizer_config.json
 * beside either tells BOS and EOS; its add_bos_token counts only where there is no tokenizer.json, whose template has the say (as in transformers 5).
 * QEP_E_INPUT names file, reason and place: line and column where the JSON is broken, else the member, "model.merges[12]"; so does a directory that has only tokenizer.model (SentencePiece or tiktoken), with
 * what to do. Fields "truncation" and "padding" are left aside, as transformers does. The ids are those of the tokenizers library with this tokenizer.json:
 * transformers 5 may make others behind added tokens, and with LlamaTokenizer's add_prefix_space, as it builds some of the parts anew. Local. */
QEP_MUST_CHECK qep_status qep_tokenizer_open(const char *path, qep_tokenizer **out);
/* The same from a tokenizer.json in memory; source: its name in messages. Local. */
QEP_MUST_CHECK qep_status qep_tokenizer_parse(const char *text, int64_t bytes, const char *source, qep_tokenizer **out);
void qep_tokenizer_close(qep_tokenizer **t); /* NULL allowed; sets NULL */

/* Token ids of `bytes` bytes of text (NUL bytes are text). add_special: what the post-processor's template puts around a single text (BOS, EOS). Added
 * tokens that stand in the text become their ids, as in the library. Invalid UTF-8 is read as Python's bytes.decode("utf-8", errors="replace")
 * does: U+FFFD for each longest start of a character that goes wrong. *ids: [*n], qep_free; never NULL.
 * Memory besides text and ids: the normalized text where there is a normalizer, and up to 46 bytes per byte of the longest word in which no place
 * is sure to part two tokens (20 MB of "a": 0.9 GB; ordinary text: nothing to speak of). QEP_E_INPUT: a single word of 2 GiB, or a pattern that PCRE2
 * gives up on. Local. */
QEP_MUST_CHECK qep_status qep_tokenizer_encode(const qep_tokenizer *t, const char *text, int64_t bytes, bool add_special, int32_t **ids, int64_t *n);
/* The first place in [max(from, 1), bytes) at which the text can be parted: the ids of [0, place) and of [place, bytes), encoded as parts, are those of the
 * whole, whatever follows behind `bytes`. -1: none is known, as always with a tokenizer whose way of cutting has no name here. parts.c tells why it holds. */
int64_t qep_tokenizer_part(const qep_tokenizer *t, const char *text, int64_t bytes, int64_t from);
/* encode for such a part; first, last: no other part stands before it, behind it. */
QEP_MUST_CHECK qep_status qep_tokenizer_encode_part(const qep_tokenizer *t, const char *text, int64_t bytes, bool add_special, bool first, bool last,
                                                    int32_t **ids, int64_t *n);
/* Text of n ids, as the tokenizer's decoder makes it. skip_special: leaves special tokens out. Ids that are holes or outside [0, size) are left out, as in
 * the library. *text: NUL-terminated UTF-8, qep_free; *bytes without the NUL, may be NULL. QEP_E_INPUT: a decoder that this module does not know. Local. */
QEP_MUST_CHECK qep_status qep_tokenizer_decode(const qep_tokenizer *t, const int32_t *ids, int64_t n, bool skip_special, char **text, int64_t *bytes);

/* --- what is in it (for checks, reports and writers of other formats) ------------------------------ */

int64_t qep_tokenizer_size(const qep_tokenizer *t);                    /* largest id + 1 */
int32_t qep_tokenizer_id(const qep_tokenizer *t, const char *token);   /* by stored spelling; -1 when absent */
const char *qep_tokenizer_piece(const qep_tokenizer *t, int32_t id);   /* stored spelling (UTF-8), borrowed; NULL for a hole or an id out of range */
bool qep_tokenizer_is_added(const qep_tokenizer *t, int32_t id);       /* named in added_tokens */
bool qep_tokenizer_is_special(const qep_tokenizer *t, int32_t id);     /* named there with special = true */
int64_t qep_tokenizer_n_merges(const qep_tokenizer *t);
void qep_tokenizer_merge(const qep_tokenizer *t, int64_t rank, int32_t *left, int32_t *right); /* rank in [0, n_merges): the pair of ids */

/* The ways of cutting text that other programs know by name; OTHER: a pattern or a chain of its own. */
typedef enum qep_tokenizer_family { QEP_TOKENIZER_OTHER, QEP_TOKENIZER_GPT2, QEP_TOKENIZER_LLAMA3, QEP_TOKENIZER_QWEN2, QEP_TOKENIZER_SPM } qep_tokenizer_family;
qep_tokenizer_family qep_tokenizer_get_family(const qep_tokenizer *t); /* SPM: characters with byte fallback, spaces as U+2581 */

/* bos_token and eos_token of tokenizer_config.json; without that file what the template puts in front and behind. -1: none. */
int32_t qep_tokenizer_bos(const qep_tokenizer *t);
int32_t qep_tokenizer_eos(const qep_tokenizer *t);
int32_t qep_tokenizer_unk(const qep_tokenizer *t);   /* the model's unk_token, -1: none */
bool qep_tokenizer_adds_bos(const qep_tokenizer *t); /* add_special puts the BOS token in front */
bool qep_tokenizer_adds_eos(const qep_tokenizer *t);
/* How BOS comes in front of a text. rule auto: what the template puts. yes: BOS in front, by the caller where the template puts none. no: neither BOS nor
 * EOS. *special: add_special of encode; *front: the id that the caller puts in front besides, -1 none. false: yes, and there is no BOS token. */
QEP_MUST_CHECK bool qep_tokenizer_bos_rule(const qep_tokenizer *t, const char *rule, bool *special, int32_t *front);
/* A hash of the bytes of all files that were read, for checkpoints. */
uint64_t qep_tokenizer_identity(const qep_tokenizer *t);

#endif
