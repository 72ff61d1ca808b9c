/* NumPy's .npy files, versions 1 to 3 (numpy/lib/format.py): magic, version, header length, a
 * Python dictionary, the items. SPDX-License-Identifier: Apache-2.0 */
#include "data_priv.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { max_header_bytes = 65536, read_bytes = 1 << 20 };

/* --- the header's dictionary ------------------------------------------------------------- */

typedef struct scanner {
    const char *path, *at, *end;
    qep_npy *out;
    int seen; /* bit per key */
} scanner;

static qep_status bad(const scanner *s, const char *what)
{
    return qep_fail(QEP_E_INPUT, "%s: not a .npy header: %s; write the file with numpy.save",
                    s->path, what);
}

static void blanks(scanner *s)
{
    while (s->at < s->end && (*s->at == ' ' || *s->at == '\t' || *s->at == '\n' || *s->at == '\r'))
        s->at++;
}

static bool take(scanner *s, char c)
{
    blanks(s);
    if (s->at == s->end || *s->at != c) return false;
    s->at++;
    return true;
}

static bool take_word(scanner *s, const char *word)
{
    size_t n = strlen(word);
    blanks(s);
    if ((size_t)(s->end - s->at) < n || memcmp(s->at, word, n) != 0) return false;
    s->at += n;
    return true;
}

/* A quoted text without escapes into buf. */
static bool take_string(scanner *s, char *buf, size_t cap)
{
    blanks(s);
    if (s->at == s->end || (*s->at != '\'' && *s->at != '"')) return false;
    char quote = *s->at++;
    size_t n = 0;
    for (; s->at < s->end && *s->at != quote; s->at++) {
        if (*s->at == '\\' || n + 1 >= cap) return false;
        buf[n++] = *s->at;
    }
    if (s->at == s->end) return false;
    s->at++;
    buf[n] = '\0';
    return true;
}

static bool take_size(scanner *s, int64_t *v)
{
    blanks(s);
    const char *first = s->at;
    for (*v = 0; s->at < s->end && *s->at >= '0' && *s->at <= '9'; s->at++) {
        if (!qep_mul_i64(*v, 10, v) || !qep_add_i64(*v, *s->at - '0', v)) return false;
    }
    return s->at > first;
}

static qep_status read_descr(scanner *s)
{
    static const struct {
        const char *name;
        int64_t bytes;
        bool is_signed;
    } types[] = {{"<i4", 4, true}, {"<i8", 8, true}, {"<u2", 2, false}, {"<u4", 4, false}};
    char descr[32];
    blanks(s);
    if (s->at < s->end && *s->at == '[')
        return bad(s, "a structured type; token ids are plain integers");
    if (!take_string(s, descr, sizeof descr)) return bad(s, "descr is not a text");
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (strcmp(types[i].name, descr) != 0) continue;
        s->out->item_bytes = types[i].bytes;
        s->out->is_signed = types[i].is_signed;
        return QEP_OK;
    }
    return qep_fail(
        QEP_E_INPUT,
        "%s: items of type %s; token ids must be little-endian int32, int64, uint16 or uint32: "
        "save ids.astype(numpy.int32)",
        s->path, descr);
}

static qep_status read_order(scanner *s)
{
    if (take_word(s, "False")) return QEP_OK;
    if (!take_word(s, "True")) return bad(s, "fortran_order is neither True nor False");
    return qep_fail(QEP_E_INPUT,
                    "%s: the array is stored column by column; save numpy.ascontiguousarray(ids)",
                    s->path);
}

static qep_status read_shape(scanner *s)
{
    int64_t dim[2] = {0, 0}, extra;
    int n = 0;
    bool comma = true;
    if (!take(s, '(')) return bad(s, "shape is not a tuple");
    while (!take(s, ')')) {
        if (!comma) return bad(s, "shape is not a tuple of sizes");
        if (!take_size(s, n < 2 ? &dim[n] : &extra)) return bad(s, "shape is not a tuple of sizes");
        n++;
        comma = take(s, ',');
    }
    if (n == 1 && !comma) return bad(s, "shape is not a tuple of sizes");
    if (n != 1 && n != 2) {
        return qep_fail(
            QEP_E_INPUT,
            "%s: an array of %d dimensions; token ids are one-dimensional or [samples, length]",
            s->path, n);
    }
    s->out->is_rows = n == 2;
    s->out->rows = n == 2 ? dim[0] : 1;
    s->out->length = n == 2 ? dim[1] : dim[0];
    return QEP_OK;
}

static qep_status read_member(scanner *s)
{
    static const char *const keys[] = {"descr", "fortran_order", "shape"};
    static qep_status (*const readers[])(scanner *) = {read_descr, read_order, read_shape};
    char key[32];
    if (!take_string(s, key, sizeof key) || !take(s, ':')) return bad(s, "expected 'key': value");
    for (int i = 0; i < 3; i++) {
        if (strcmp(keys[i], key) != 0) continue;
        if (s->seen & (1 << i)) return bad(s, "a key is there twice");
        s->seen |= 1 << i;
        return readers[i](s);
    }
    return bad(s, "an unknown key");
}

qep_status qep_npy_header(const char *path, const char *text, int64_t n, qep_npy *out)
{
    scanner s = {path, text, text + n, out, 0};
    bool comma = true;
    if (!take(&s, '{')) return bad(&s, "no dictionary");
    while (!take(&s, '}')) {
        if (s.at == s.end) return bad(&s, "the dictionary is not closed");
        if (!comma) return bad(&s, "a comma is missing");
        QEP_TRY(read_member(&s));
        comma = take(&s, ',');
    }
    blanks(&s);
    if (s.at != s.end) return bad(&s, "something follows the dictionary");
    if (s.seen != 7) return bad(&s, "descr, fortran_order or shape is missing");
    return QEP_OK;
}

/* --- the file ------------------------------------------------------------------------------ */

static uint64_t little(const unsigned char *p, int64_t n)
{
    uint64_t v = 0;
    for (int64_t i = n; i-- > 0;) v = v << 8 | p[i];
    return v;
}

/* Length and place of the header text. */
static qep_status find_header(const char *path, int fd, int64_t *at, int64_t *n)
{
    unsigned char start[12];
    QEP_TRY(qep_pread(path, fd, start, 10, 0));
    if (memcmp(start, "\x93NUMPY", 6) != 0)
        return qep_fail(QEP_E_INPUT,
                        "%s: not a .npy file (no magic number); write it with numpy.save", path);
    unsigned major = start[6];
    if (major < 1 || major > 3)
        return qep_fail(QEP_E_INPUT, "%s: version %u of the .npy format; 1 to 3 are known", path,
                        major);
    *at = major == 1 ? 10 : 12;
    if (major > 1) QEP_TRY(qep_pread(path, fd, start, 12, 0));
    *n = (int64_t)little(start + 8, *at - 8);
    if (*n > max_header_bytes) {
        return qep_fail(QEP_E_INPUT, "%s: a header of %" PRId64 " bytes; the file is damaged", path,
                        *n);
    }
    return QEP_OK;
}

static qep_status check_size(const char *path, int fd, const qep_npy *a)
{
    struct stat info;
    int64_t items, bytes, need;
    if (fstat(fd, &info) != 0) return qep_open_fail(path, errno);
    bool fits = qep_mul_i64(a->rows, a->length, &items) &&
                qep_mul_i64(items, a->item_bytes, &bytes) && qep_add_i64(bytes, a->data_at, &need);
    if (!fits)
        return qep_fail(QEP_E_INPUT,
                        "%s: the shape in the header is impossibly large; the file is damaged",
                        path);
    if ((int64_t)info.st_size == need) return QEP_OK;
    return qep_fail(QEP_E_INPUT,
                    "%s: the header promises %" PRId64 " bytes, the file has %" PRId64 "; %s", path,
                    need, (int64_t)info.st_size,
                    (int64_t)info.st_size < need ? "it is cut off, copy it again"
                                                 : "save one array per file with numpy.save");
}

qep_status qep_npy_open(const char *path, int fd, qep_npy *out)
{
    int64_t at = 0, n = 0;
    *out = (qep_npy){0};
    QEP_TRY(find_header(path, fd, &at, &n));
    char *text = qep_alloc("data.header", n + 1, 1);
    qep_status st = QEP_OK;
    QEP_GO(st, qep_pread(path, fd, text, n, at));
    QEP_GO(st, qep_npy_header(path, text, n, out));
    out->data_at = at + n;
    QEP_GO(st, check_size(path, fd, out));
done:
    qep_free(text);
    return st;
}

static int64_t item(const unsigned char *p, const qep_npy *a)
{
    uint64_t v = little(p, a->item_bytes);
    if (a->is_signed && a->item_bytes == 4) return (int32_t)(uint32_t)v;
    return (int64_t)v;
}

qep_status qep_npy_read(const char *path, int fd, const qep_npy *a, int64_t first, int64_t n,
                        int64_t *dst)
{
    const int64_t chunk = read_bytes / a->item_bytes;
    unsigned char *buf = qep_alloc("data.read", qep_min_i64(n, chunk), (size_t)a->item_bytes);
    qep_status st = QEP_OK;
    for (int64_t i = 0; i < n; i += chunk) {
        int64_t m = qep_min_i64(chunk, n - i);
        QEP_GO(st, qep_pread(path, fd, buf, m * a->item_bytes, a->data_at + (first + i) * a->item_bytes));
        for (int64_t j = 0; j < m; j++) dst[i + j] = item(buf + j * a->item_bytes, a);
    }
done:
    qep_free(buf);
    return st;
}
