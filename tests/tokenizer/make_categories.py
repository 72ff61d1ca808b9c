#!/usr/bin/env python3
"""Prints the tables of src/tokenizer/unicode.c and src/tokenizer/form.c: where the tokenizers library (0.23.3) knows other Unicode versions than PCRE2
10.42 (Unicode 14, as this Python's unicodedata must be: Python 3.11) and utf8proc 2.8 (Unicode 15). Takes minutes. SPDX-License-Identifier: Apache-2.0"""
import ctypes, unicodedata
from tokenizers import Regex, normalizers, pre_tokenizers

ALL = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]


def ranges(members):
    out = []
    for c in sorted(members):
        if out and out[-1][1] == c - 1:
            out[-1][1] = c
        else:
            out.append([c, c])
    return out


def matched(pattern):
    """What the library's regular expressions match, of all characters."""
    split, out = pre_tokenizers.Split(Regex(pattern), "removed", invert=True), set()
    for i in range(0, len(ALL), 20000):
        for word, _ in split.pre_tokenize_str("".join(map(chr, ALL[i:i + 20000]))):
            out.update(map(ord, word))
    return out


def newer_categories():
    assert unicodedata.unidata_version == "14.0.0", unicodedata.unidata_version
    rows = []
    for k in "Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp Cc Cf".split():
        rows += [(a, b, k) for a, b in ranges(matched(r"\p{%s}" % k) - {c for c in ALL if unicodedata.category(chr(c)) == k})]
    return sorted(rows)


def newer_forms(rows):
    """Characters that utf8proc takes part in some form and the library does not, alone or beside marks, without those of `rows`."""
    lib, libc = ctypes.CDLL("libutf8proc.so.2"), ctypes.CDLL(None)
    lib.utf8proc_map.restype = ctypes.c_ssize_t

    def form(text, options):
        data, out = text.encode(), ctypes.c_void_p()
        n = lib.utf8proc_map(data, ctypes.c_ssize_t(len(data)), ctypes.byref(out), options)
        result = ctypes.string_at(out, n)
        libc.free(out)
        return result.decode()

    stable, compat, compose, decompose = 2, 4, 8, 16
    forms = [(normalizers.NFC(), stable | compose), (normalizers.NFD(), stable | decompose), (normalizers.NFKC(), stable | compose | compat),
             (normalizers.NFKD(), stable | decompose | compat)]
    known, out = {c for a, b, _ in rows for c in range(a, b + 1)}, {0x11930, 0x11935}  # the parts of U+11938
    for c in ALL:
        texts = ["a%cb" % c, "a\u0345%c" % c, "a%c\u0334" % c, "a\u0301%c\u0327" % c]
        if c >= 0x80 and c not in known and any(f.normalize_str(t) != form(t, o) for t in texts for f, o in forms):
            out.add(c)
    return ranges(out)


rows = newer_categories()
print("qep_tok_newer:", ", ".join('{0x%X, 0x%X, "%s"}' % row for row in rows))
print("newer_forms:", ", ".join("{0x%X, 0x%X}" % tuple(r) for r in newer_forms(rows)))
