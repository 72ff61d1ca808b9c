/* Reader of INI text: [section], key = value, comments with # or ; at the start of a line or after
 * white space, values may be quoted. Knows no keys. Lines of any length; CRLF and a byte-order mark
 * are taken. SPDX-License-Identifier: Apache-2.0 */
#include "config_priv.h"

#include <string.h>

typedef struct reader {
    const char *source;
    qep_ini *ini;
    char *section; /* of the lines that follow; NULL before the first header */
    int line;
} reader;

static bool is_space(char c)
{
    return c == ' ' || c == '\t';
}

char *qep_slice(const char *begin, const char *end)
{
    char *s = qep_alloc("config.text", end - begin + 1, 1);
    memcpy(s, begin, (size_t)(end - begin));
    return s;
}

static void trim(const char **begin, const char **end)
{
    while (*begin < *end && is_space(**begin)) (*begin)++;
    while (*end > *begin && is_space((*end)[-1])) (*end)--;
}

static qep_status line_fail(const reader *r, const char *what)
{
    return qep_fail(QEP_E_CONFIG, "%s:%d: %s", r->source, r->line, what);
}

static bool name_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-' || c == '.';
}

static bool word_ok(const char *s)
{
    if (!*s) return false;
    for (; *s; s++) {
        if (!name_char(*s)) return false;
    }
    return true;
}

const char *qep_override_name(const char *section)
{
    return strncmp(section, "override ", 9) == 0 ? section + 9 : NULL;
}

bool qep_section_name_ok(const char *section)
{
    const char *name = qep_override_name(section);
    return word_ok(name ? name : section);
}

static void push(reader *r, const char *section, char *key, char *value)
{
    qep_ini *ini = r->ini;
    ini->entries = qep_realloc(ini->entries, "config.ini", ini->n + 1, sizeof *ini->entries);
    ini->entries[ini->n++] =
        (qep_ini_entry){qep_strdup("config.text", section), key, value, r->line};
}

/* The earlier line that has the same section (key NULL) or the same key of it; 0 when there is
 * none. */
static int earlier(const qep_ini *ini, const char *section, const char *key)
{
    for (int64_t i = 0; i < ini->n; i++) {
        const qep_ini_entry *e = &ini->entries[i];
        if (strcmp(e->section, section) != 0) continue;
        bool same = key ? e->key && strcmp(e->key, key) == 0 : !e->key;
        if (same) return e->line;
    }
    return 0;
}

/* [begin, end) starts with '['. */
static qep_status read_header(reader *r, const char *begin, const char *end)
{
    const char *close = memchr(begin, ']', (size_t)(end - begin));
    if (!close) return line_fail(r, "a section header needs a closing bracket: [section]");
    const char *rest = close + 1;
    while (rest < end && is_space(*rest)) rest++;
    if (rest < end && *rest != '#' && *rest != ';')
        return line_fail(r, "only a comment may follow a section header");
    begin++;
    trim(&begin, &close);
    char *name = qep_slice(begin, close);
    /* one blank between "override" and the name, whatever was written */
    if (strncmp(name, "override", 8) == 0 && is_space(name[8])) {
        const char *tail = name + 8;
        while (is_space(*tail)) tail++;
        char *clean = qep_strf("config.text", "override %s", tail);
        qep_free(name);
        name = clean;
    }
    qep_free(r->section);
    r->section = name;
    if (!qep_section_name_ok(name)) {
        return qep_fail(QEP_E_CONFIG,
                        "%s:%d: [%s]: a section is [word] or [override NAME]; names are made of "
                        "letters, digits and _ - .",
                        r->source, r->line, name);
    }
    int before = earlier(r->ini, name, NULL);
    if (before) {
        return qep_fail(
            QEP_E_CONFIG,
            "%s:%d: [%s]: the section is already there in line %d; put its keys together",
            r->source, r->line, name, before);
    }
    push(r, name, NULL, NULL);
    return QEP_OK;
}

/* End of the value without its comment. A quote counts where an item of a list can start; *open: it
 * is not closed. */
static const char *value_end(const char *begin, const char *end, bool *open)
{
    bool item_start = true;
    *open = false;
    for (const char *p = begin; p < end; p++) {
        if ((*p == '#' || *p == ';') && p > begin && is_space(p[-1])) return p;
        if (item_start && (*p == '"' || *p == '\'')) {
            /* a doubled quote is two quoted parts that touch: both are skipped the same way */
            const char *close = p;
            do {
                close = memchr(close + 1, *p, (size_t)(end - close - 1));
            } while (close && close + 1 < end && close[1] == *p && ++close);
            if (!close) {
                *open = true;
                return end;
            }
            p = close;
            item_start = false;
        } else if (!is_space(*p)) {
            item_start = *p == ',';
        }
    }
    return end;
}

/* The section that *key belongs to (qep_free): the one above it, or, in front of the first header, what
 * stands before its first dot, which is cut off. */
static qep_status split_key(const reader *r, char **section, char **key)
{
    if (r->section) {
        *section = qep_strdup("config.text", r->section);
        return QEP_OK;
    }
    const char *dot = strchr(*key, '.');
    if (!dot || dot == *key || !dot[1]) {
        return qep_fail(QEP_E_CONFIG,
                        "%s:%d: %s: a key needs a [section] above it, or its section in front: "
                        "section.key = value",
                        r->source, r->line, *key);
    }
    char *rest = qep_strdup("config.text", dot + 1);
    *section = qep_slice(*key, dot);
    qep_free(*key);
    *key = rest;
    return QEP_OK;
}

static qep_status read_pair(reader *r, const char *begin, const char *end)
{
    const char *equals = memchr(begin, '=', (size_t)(end - begin));
    if (!equals)
        return line_fail(r,
                         "expected [section], key = value, or a comment that starts with # or ;");
    const char *key_end = equals;
    trim(&begin, &key_end);
    char *key = qep_slice(begin, key_end), *section = NULL;
    qep_status st = QEP_OK;
    if (!word_ok(key))
        QEP_GO(st, line_fail(r, "the key before = must be one word of letters, digits and _ - ."));
    QEP_GO(st, split_key(r, &section, &key));
    int before = earlier(r->ini, section, key);
    if (before) {
        QEP_GO(st, qep_fail(QEP_E_CONFIG, "%s:%d: %s.%s: already set in line %d; keep one of them",
                            r->source, r->line, section, key, before));
    }
    bool open;
    const char *v = equals + 1;
    const char *v_end = value_end(v, end, &open);
    if (open) {
        QEP_GO(st, qep_fail(QEP_E_CONFIG, "%s:%d: %s.%s: a quote is not closed", r->source, r->line,
                            section, key));
    }
    trim(&v, &v_end);
    push(r, section, key, qep_slice(v, v_end));
    key = NULL;
done:
    qep_free(section);
    qep_free(key);
    return st;
}

static qep_status read_line(reader *r, const char *begin, const char *end)
{
    if (end > begin && end[-1] == '\r') end--;
    for (const char *p = begin; p < end; p++) {
        unsigned char c = (unsigned char)*p;
        if ((c < 0x20 && c != '\t') || c == 0x7F) {
            return qep_fail(QEP_E_CONFIG,
                            "%s:%d: control character 0x%02x in column %d; this is not a text file "
                            "in UTF-8 or ASCII",
                            r->source, r->line, (unsigned)c, (int)(p - begin) + 1);
        }
    }
    trim(&begin, &end);
    if (begin == end || *begin == '#' || *begin == ';') return QEP_OK;
    return *begin == '[' ? read_header(r, begin, end) : read_pair(r, begin, end);
}

qep_status qep_ini_read(const char *text, const char *source, qep_ini *ini)
{
    reader r = {source, ini, NULL, 0};
    *ini = (qep_ini){0};
    if (strncmp(text, "\xEF\xBB\xBF", 3) == 0) text += 3;
    qep_status st = QEP_OK;
    while (st == QEP_OK && *text) {
        const char *end = strchr(text, '\n');
        const char *stop = end ? end : text + strlen(text);
        r.line++;
        st = read_line(&r, text, stop);
        text = end ? end + 1 : stop;
    }
    qep_free(r.section);
    if (st != QEP_OK) qep_ini_free(ini);
    return st;
}

void qep_ini_free(qep_ini *ini)
{
    for (int64_t i = 0; i < ini->n; i++) {
        qep_free(ini->entries[i].section);
        qep_free(ini->entries[i].key);
        qep_free(ini->entries[i].value);
    }
    qep_free(ini->entries);
    *ini = (qep_ini){0};
}
