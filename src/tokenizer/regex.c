/* Patterns of tokenizer.json on PCRE2. The library gives them to Oniguruma (Ruby syntax); what reads the same in both is translated, with every class of
 * characters written out as Oniguruma understands it, and everything else is refused by name. SPDX-License-Identifier: Apache-2.0 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <inttypes.h>
#include <pcre2.h>
#include <string.h>

#include "tokenizer_priv.h"

enum { MAX_DEPTH = 64 };

struct qep_tok_regex {
    pcre2_code *code;
    bool jit;     /* compiled to machine code: the direct call is faster */
    char *source; /* owned: as it was written */
};

/* --- translation ----------------------------------------------------------------------------------------- */

typedef struct translator {
    const char *p, *end;
    const qep_tok_place *at;
    const char *whole;
    qep_tok_buf out;
    bool icase[MAX_DEPTH]; /* of the groups that are open */
    int depth;
    uint32_t last;     /* literal before this one, 0: none */
    bool can_repeat;   /* a quantifier may follow */
} translator;

static const char white[] = "\\x{9}-\\x{D}\\x{20}\\x{85}\\x{A0}\\x{1680}\\x{2000}-\\x{200A}\\x{2028}\\x{2029}\\x{202F}\\x{205F}\\x{3000}";

static qep_status refuse(const translator *t, const char *what)
{
    return qep_tok_bad(t->at, "unsupported in a pattern: %s (\"%.300s\")", what, t->whole);
}

static void put(translator *t, const char *text)
{
    qep_tok_put(&t->out, text, (int64_t)strlen(text));
}

static void put_char(translator *t, uint32_t c)
{
    char text[16];
    snprintf(text, sizeof text, "\\x{%" PRIX32 "}", c);
    put(t, text);
}

static bool take(translator *t, const char *text)
{
    const size_t n = strlen(text);
    if ((size_t)(t->end - t->p) < n || memcmp(t->p, text, n) != 0) return false;
    t->p += n;
    return true;
}

/* Members of a category, to stand inside brackets. */
static void put_category(translator *t, const char *name)
{
    put(t, "\\p{");
    put(t, name);
    put(t, "}");
    for (int i = 0; i < qep_tok_n_newer; i++) {
        const qep_tok_category *c = &qep_tok_newer[i];
        if (strncmp(c->name, name, strlen(name)) != 0) continue;
        put_char(t, c->first);
        if (c->last != c->first) {
            put(t, "-");
            put_char(t, c->last);
        }
    }
}

typedef struct item {
    bool is_class, negated;
    uint32_t c;     /* a character */
    char name[8];   /* a class: "s" or a category */
} item;

/* Behind "\p" or "\P". */
static qep_status property(translator *t, bool negated, item *out)
{
    static const char *const known[] = {"L",  "Lu", "Ll", "Lt", "Lm", "Lo", "M",  "N",  "Nd", "Nl", "No", "P",  "Pc", "Pd",
                                        "Ps", "Pe", "Pi", "Pf", "Po", "S",  "Sm", "Sc", "Sk", "So", "Z",  "Zs", "Zl", "Zp"};
    if (!take(t, "{")) return refuse(t, "\\p without braces");
    *out = (item){.is_class = true, .negated = negated};
    if (take(t, "^")) out->negated = !negated;
    const char *close = memchr(t->p, '}', (size_t)(t->end - t->p));
    if (!close) return refuse(t, "\\p{ without }");
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if ((size_t)(close - t->p) != strlen(known[i]) || memcmp(known[i], t->p, strlen(known[i])) != 0) continue;
        memcpy(out->name, known[i], strlen(known[i]) + 1);
        if (t->icase[t->depth] && strchr("ult", known[i][1] ? known[i][1] : 'x')) return refuse(t, "a property of case where case is ignored");
        t->p = close + 1;
        return QEP_OK;
    }
    char what[64];
    snprintf(what, sizeof what, "\\p{%.*s}", (int)qep_min_i64(close - t->p, 40), t->p);
    return refuse(t, what);
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

/* Digits of a code point: exactly n of them, or up to a closing brace where n is 0. */
static qep_status code_point(translator *t, int n, uint32_t *c)
{
    int digits = 0;
    for (*c = 0; t->p < t->end && hex_digit(*t->p) >= 0 && (n == 0 || digits < n) && *c <= 0x10FFFF; digits++)
        *c = *c * 16 + (uint32_t)hex_digit(*t->p++);
    if (digits == 0 || (n > 0 && digits < n) || *c > 0x10FFFF || (*c >= 0xD800 && *c < 0xE000)) return refuse(t, "this \\x or \\u");
    return n > 0 || take(t, "}") ? QEP_OK : refuse(t, "this \\x{");
}

/* Behind a backslash. */
static qep_status escape(translator *t, item *out)
{
    static const char letters[] = "rntfvae", codes[] = "\r\n\t\f\v\a\033";
    *out = (item){0};
    if (t->p == t->end) return refuse(t, "a backslash at the end");
    const char c = *t->p++;
    const char *known = strchr(letters, c);
    if (c == 's' || c == 'S') {
        *out = (item){.is_class = true, .negated = c == 'S', .name = "s"};
    } else if (c == 'd' || c == 'D') {
        *out = (item){.is_class = true, .negated = c == 'D', .name = "Nd"};
    } else if (c == 'p' || c == 'P') {
        return property(t, c == 'P', out);
    } else if (c == 'x') {
        const bool braces = take(t, "{");
        QEP_TRY(code_point(t, braces ? 0 : 2, &out->c));
        if (!braces && out->c >= 0x80) return refuse(t, "\\x of a byte");
    } else if (c == 'u') {
        return code_point(t, 4, &out->c);
    } else if (c && known) {
        out->c = (uint32_t)codes[known - letters];
    } else if ((unsigned char)c < 0x80 && c > ' ' && !((c | 32) >= 'a' && (c | 32) <= 'z') && !(c >= '0' && c <= '9')) {
        out->c = (uint32_t)c;
    } else if (c == ' ') {
        out->c = ' ';
    } else {
        char what[4] = {'\\', c, '\0', '\0'};
        return refuse(t, what);
    }
    return QEP_OK;
}

/* Where case is ignored Oniguruma also matches characters that fold to several (ss and U+00DF): PCRE2 does not. */
static qep_status literal(translator *t, uint32_t c)
{
    static const char *const folded[] = {"ss", "ff", "fi", "fl", "st"};
    if (t->icase[t->depth]) {
        if (c >= 0x80) return refuse(t, "a character that is not ASCII where case is ignored");
        for (size_t i = 0; i < sizeof folded / sizeof *folded; i++) {
            if ((t->last | 32) == (uint32_t)folded[i][0] && (c | 32) == (uint32_t)folded[i][1])
                return refuse(t, "letters that have a ligature (ss, ff, fi, fl, st) where case is ignored");
        }
    }
    t->last = c;
    put_char(t, c);
    return QEP_OK;
}

static void put_class(translator *t, const item *m)
{
    if (strcmp(m->name, "s") == 0) {
        put(t, white);
    } else {
        put_category(t, m->name);
    }
}

/* One member of a bracket expression. */
static qep_status member(translator *t, item *m)
{
    if (take(t, "\\")) return escape(t, m);
    if (*t->p == '[') return refuse(t, t->p + 1 < t->end && t->p[1] == ':' ? "[:name:]" : "brackets within brackets");
    if (take(t, "&&")) return refuse(t, "&& in brackets");
    int len;
    *m = (item){.c = qep_tok_decode(t->p, &len)};
    t->p += len;
    return QEP_OK;
}

static qep_status bracket_item(translator *t)
{
    item m, high;
    QEP_TRY(member(t, &m));
    const bool range = t->end - t->p >= 2 && t->p[0] == '-' && t->p[1] != ']';
    if (m.is_class) {
        if (range) return refuse(t, "a class and '-'");
        if (m.negated && strcmp(m.name, "s") != 0) return refuse(t, "a negated property in brackets");
        if (m.negated) {
            put(t, "\\P{White_Space}");
        } else {
            put_class(t, &m);
        }
        return QEP_OK;
    }
    if (t->icase[t->depth] && m.c >= 0x80) return refuse(t, "a character that is not ASCII where case is ignored");
    put_char(t, m.c);
    if (!range) return QEP_OK;
    t->p++;
    QEP_TRY(member(t, &high));
    if (high.is_class || high.c < m.c) return refuse(t, "this range in brackets");
    if (t->icase[t->depth] && high.c >= 0x80) return refuse(t, "a character that is not ASCII where case is ignored");
    put(t, "-");
    put_char(t, high.c);
    return t->p < t->end && *t->p == '-' && t->end - t->p >= 2 && t->p[1] != ']' ? refuse(t, "'-' behind a range") : QEP_OK;
}

/* Behind '['. */
static qep_status brackets(translator *t)
{
    put(t, take(t, "^") ? "[^" : "[");
    if (t->p < t->end && *t->p == ']') return refuse(t, "empty brackets");
    while (t->p < t->end && *t->p != ']') QEP_TRY(bracket_item(t));
    if (!take(t, "]")) return refuse(t, "'[' without ']'");
    put(t, "]");
    return QEP_OK;
}

/* Behind '('. */
static qep_status group(translator *t)
{
    static const char *const heads[] = {"?:", "?=", "?!", "?<=", "?<!", "?>", "?i:"};
    if (t->depth + 1 == MAX_DEPTH) return refuse(t, "groups nested so deep");
    const bool outer = t->icase[t->depth++];
    t->icase[t->depth] = outer;
    put(t, "(");
    if (t->p == t->end || *t->p != '?') return QEP_OK;
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
        if (!take(t, heads[i])) continue;
        put(t, heads[i]);
        if (heads[i][1] == 'i') t->icase[t->depth] = true;
        return QEP_OK;
    }
    char what[16];
    snprintf(what, sizeof what, "(%.*s", (int)qep_min_i64(6, t->end - t->p), t->p);
    return refuse(t, what);
}

static bool number(translator *t, char *text, size_t cap)
{
    size_t n = 0;
    while (t->p < t->end && *t->p >= '0' && *t->p <= '9' && n + 1 < cap) text[n++] = *t->p++;
    text[n] = '\0';
    return n > 0;
}

/* {n} {n,} {n,m} {,m}, behind the brace. */
static qep_status counted(translator *t)
{
    char low[6], high[6], text[20];
    const bool has_low = number(t, low, sizeof low), comma = take(t, ","), has_high = comma && number(t, high, sizeof high);
    if ((!has_low && !has_high) || !take(t, "}")) return refuse(t, "'{' that is no repetition");
    snprintf(text, sizeof text, "{%s%s%s}", has_low ? low : "0", comma ? "," : "", has_high ? high : "");
    put(t, text);
    if (t->p < t->end && strchr("?+*{", *t->p)) return refuse(t, "a repetition of {}");
    return QEP_OK;
}

static qep_status repetition(translator *t, char c)
{
    if (!t->can_repeat) return refuse(t, "a repetition of nothing");
    t->can_repeat = false;
    t->last = 0;
    if (c == '{') return counted(t);
    const char text[2] = {c, '\0'};
    put(t, text);
    if (take(t, "?")) put(t, "?");
    else if (take(t, "+")) put(t, "+");
    if (t->p < t->end && strchr("?+*{", *t->p)) return refuse(t, "a repetition of a repetition");
    return QEP_OK;
}

static qep_status atom(translator *t)
{
    item m;
    if (take(t, "\\")) {
        QEP_TRY(escape(t, &m));
        if (!m.is_class) return literal(t, m.c);
        put(t, m.negated ? "[^" : "[");
        put_class(t, &m);
        put(t, "]");
        t->last = 0;
        return QEP_OK;
    }
    if (take(t, "[") ) {
        t->last = 0;
        return brackets(t);
    }
    if (take(t, ".")) {
        t->last = 0;
        put(t, "[^\\n]");
        return QEP_OK;
    }
    if (*t->p == '^' || *t->p == '$') return refuse(t, "the anchors ^ and $");
    int len;
    const uint32_t c = qep_tok_decode(t->p, &len);
    t->p += len;
    return literal(t, c);
}

static qep_status step(translator *t)
{
    const char c = *t->p;
    if (c == '(') {
        t->p++;
        t->last = 0;
        t->can_repeat = false;
        return group(t);
    }
    if (c == ')' || c == '|') {
        if (c == ')' && t->depth == 0) return refuse(t, "')' without '('");
        t->p++;
        t->last = 0;
        t->can_repeat = c == ')';
        if (c == ')') t->depth--;
        put(t, c == ')' ? ")" : "|");
        return QEP_OK;
    }
    if (strchr("*+?{", c) && c) {
        t->p++;
        return repetition(t, c);
    }
    QEP_TRY(atom(t));
    t->can_repeat = true;
    return QEP_OK;
}

static qep_status translate(translator *t)
{
    /* Elsewhere "(?i)" means different things in Ruby and in Perl. */
    if (take(t, "(?i)")) {
        t->icase[0] = true;
        put(t, "(?i)");
    }
    while (t->p < t->end) QEP_TRY(step(t));
    return t->depth == 0 ? QEP_OK : refuse(t, "'(' without ')'");
}

/* --- compiling ---------------------------------------------------------------------------------------------- */

static qep_status compile(const qep_tok_buf *pattern, const char *whole, const qep_tok_place *at, qep_tok_regex *r)
{
    int error;
    size_t where;
    uint32_t empty = 0;
    r->code = pcre2_compile((PCRE2_SPTR)pattern->p, (size_t)pattern->n, PCRE2_UTF | PCRE2_UCP | PCRE2_NO_UTF_CHECK | PCRE2_NO_AUTO_CAPTURE, &error,
                         &where, NULL);
    if (!r->code) {
        char why[128];
        pcre2_get_error_message(error, (PCRE2_UCHAR *)why, sizeof why);
        return qep_tok_bad(at, "PCRE2 refuses the pattern: %s (\"%.300s\")", why, whole);
    }
    pcre2_pattern_info(r->code, PCRE2_INFO_MATCHEMPTY, &empty);
    if (empty) return qep_tok_bad(at, "the pattern can match the empty text (\"%.300s\")", whole);
    r->jit = pcre2_jit_compile(r->code, PCRE2_JIT_COMPLETE) == 0;
    return QEP_OK;
}

qep_status qep_tok_regex_open(const char *pattern, bool is_literal, const qep_tok_place *at, qep_tok_regex **out)
{
    translator t = {.p = pattern, .end = pattern + strlen(pattern), .at = at, .whole = pattern};
    qep_tok_regex *r = qep_alloc("tokenizer.regex", 1, sizeof *r);
    qep_status st = QEP_OK;
    *out = NULL;
    if (t.p == t.end) QEP_GO(st, qep_tok_bad(at, "an empty pattern"));
    while (is_literal && t.p < t.end) {
        int len;
        put_char(&t, qep_tok_decode(t.p, &len));
        t.p += len;
    }
    if (!is_literal) QEP_GO(st, translate(&t));
    QEP_GO(st, compile(&t.out, pattern, at, r));
    r->source = qep_strdup("tokenizer.regex", pattern);
    *out = r;
    r = NULL;
done:
    qep_tok_regex_close(&r);
    qep_tok_buf_free(&t.out);
    return st;
}

void qep_tok_regex_close(qep_tok_regex **r)
{
    if (!*r) return;
    pcre2_code_free((*r)->code);
    qep_free((*r)->source);
    qep_free(*r);
    *r = NULL;
}

const char *qep_tok_regex_source(const qep_tok_regex *r)
{
    return r->source;
}

/* --- matching ------------------------------------------------------------------------------------------------ */

struct qep_tok_match {
    pcre2_match_data *data;
    pcre2_match_context *context;
};

static qep_tok_match *match_of(qep_tok_work *w)
{
    if (w->match) return w->match;
    qep_tok_match *m = qep_alloc("tokenizer.regex", 1, sizeof *m);
    m->data = pcre2_match_data_create(1, NULL);
    m->context = pcre2_match_context_create(NULL);
    QEP_REQUIRE(m->data && m->context);
    pcre2_set_match_limit(m->context, UINT32_MAX);
    w->match = m;
    return m;
}

void qep_tok_match_free(qep_tok_match **m)
{
    if (!*m) return;
    pcre2_match_data_free((*m)->data);
    pcre2_match_context_free((*m)->context);
    qep_free(*m);
    *m = NULL;
}

qep_status qep_tok_regex_next(const qep_tok_regex *r, qep_tok_text text, int64_t from, qep_tok_work *w, int64_t *begin, int64_t *end)
{
    const qep_tok_match *m = match_of(w);
    const PCRE2_SPTR p = (PCRE2_SPTR)text.p;
    const size_t n = (size_t)text.n, at = (size_t)from;
    const int found = r->jit ? pcre2_jit_match(r->code, p, n, at, 0, m->data, m->context)
                             : pcre2_match(r->code, p, n, at, PCRE2_NO_UTF_CHECK, m->data, m->context);
    *begin = *end = text.n;
    if (found == PCRE2_ERROR_NOMATCH) return QEP_OK;
    if (found < 0) {
        char why[128];
        pcre2_get_error_message(found, (PCRE2_UCHAR *)why, sizeof why);
        return qep_fail(QEP_E_INPUT, "the tokenizer's pattern gives up %" PRId64 " bytes into a text: PCRE2: %s", from, why);
    }
    const size_t *ends = pcre2_get_ovector_pointer(m->data);
    *begin = (int64_t)ends[0];
    *end = (int64_t)ends[1];
    return QEP_OK;
}
