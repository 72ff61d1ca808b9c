/* Regular expressions that a configuration brings along. Their readers are Python programs that use re.match, so PCRE2 stands in for it: the two agree on what
 * names of modules need, and the one form that they read differently is refused. The text is not trusted: its length, the memory of the compiled pattern, and
 * the work and memory of a match are limited, and beyond a limit there is an error, never the answer "no". SPDX-License-Identifier: Apache-2.0 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <string.h>

#include "packed_priv.h"

/* Far beyond what a pattern of modules' names needs. */
enum {
    MAX_LENGTH = 4096,        /* bytes of a pattern */
    MAX_BLOCK = 32 << 10,     /* bytes that compiling may ask for at once: four for each byte of the text, or the compiled pattern */
    MAX_STEPS = 100000,       /* of one match */
    MAX_DEPTH = 10000,        /* points to go back to, at one time */
    MAX_HEAP_KIB = 4 << 10,   /* memory for these */
};

struct qep_packed_pattern {
    pcre2_code *code;
    pcre2_match_context *limits;
    char *name; /* owned: file, key and text, for messages */
};

static void *limited_alloc(size_t bytes, void *data)
{
    (void)data;
    return bytes <= MAX_BLOCK ? qep_alloc("packed.pattern", (int64_t)bytes, 1) : NULL;
}

static void limited_free(void *p, void *data)
{
    (void)data;
    qep_free(p);
}

/* PCRE2's words for its error. */
static const char *words(int error, char *why, size_t cap)
{
    if (error == PCRE2_ERROR_HEAP_FAILED) /* limited_alloc */
        error = PCRE2_ERROR_PATTERN_TOO_LARGE;
    pcre2_get_error_message(error, (PCRE2_UCHAR *)why, cap);
    return why;
}

static qep_status compile(qep_packed_pattern *r, const char *text)
{
    pcre2_general_context *memory = pcre2_general_context_create(limited_alloc, limited_free, NULL);
    pcre2_compile_context *how = pcre2_compile_context_create(memory);
    int error;
    size_t where;
    char why[160];

    QEP_REQUIRE(memory && how);
    pcre2_set_max_pattern_length(how, MAX_LENGTH);
    r->code = pcre2_compile((PCRE2_SPTR)text, PCRE2_ZERO_TERMINATED,
                            PCRE2_ANCHORED | PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C,
                            &error, &where, how);
    pcre2_compile_context_free(how);
    pcre2_general_context_free(memory);
    if (r->code)
        return QEP_OK;
    return qep_fail(QEP_E_INPUT, "%s: %s", r->name, words(error, why, sizeof why));
}

qep_status qep_packed_pattern_open(const qep_packed *p, const char *key, const char *text,
                                   qep_packed_pattern **out)
{
    qep_packed_pattern *r = qep_alloc("packed.pattern", 1, sizeof *r);

    *out = r;
    r->name = qep_strf("packed.pattern", "%s: quantization_config: %s: the regular expression \"%.300s\"", p->source, key, text);
    if (strstr(text, "{,")) /* up to n times, or these characters: it depends on PCRE2's version */
        return qep_fail(QEP_E_INPUT, "%s: {,n} cannot be read; supported: {0,n}", r->name);
    r->limits = pcre2_match_context_create(NULL);
    QEP_REQUIRE(r->limits);
    pcre2_set_match_limit(r->limits, MAX_STEPS);
    pcre2_set_depth_limit(r->limits, MAX_DEPTH);
    pcre2_set_heap_limit(r->limits, MAX_HEAP_KIB);
    return compile(r, text);
}

void qep_packed_pattern_close(qep_packed_pattern *r)
{
    if (!r)
        return;
    pcre2_code_free(r->code);
    pcre2_match_context_free(r->limits);
    qep_free(r->name);
    qep_free(r);
}

qep_status qep_packed_pattern_match(const qep_packed_pattern *r, const char *module, bool *yes)
{
    pcre2_match_data *data = pcre2_match_data_create(1, NULL);
    char why[160];
    int found;

    QEP_REQUIRE(data);
    found = pcre2_match(r->code, (PCRE2_SPTR)module, strlen(module), 0, 0, data, r->limits);
    pcre2_match_data_free(data);
    *yes = found >= 0;
    if (found >= 0 || found == PCRE2_ERROR_NOMATCH)
        return QEP_OK;
    return qep_fail(QEP_E_INPUT, "%s gives up on module %.200s: %s", r->name, module,
                    words(found, why, sizeof why));
}
