#!/usr/bin/env python3
"""Writes tests/unit/tokenizer/quickstart_ids.h: texts and their ids in the bundled tokenizer, as the tokenizers library gives them.
python tests/tokenizer/make_expected.py > tests/unit/tokenizer/quickstart_ids.h   (made with tokenizers 0.23.3)
SPDX-License-Identifier: Apache-2.0"""
import tokenizers

TEXTS = [
    b"", b" ", b"   ", b"\n", b" \n\t \r\n  x", b"Hello, World!", b"It's we'll I'd they've 'S 'LL don't", b"a" * 70,
    b"The quick brown fox jumps over the lazy dog.  1234567 3.14 1,000 @-@ 12th",
    "Größe naïve Ελληνικά русский 中文字符 日本語 한국어 עברית العربية हिन्दी".encode(),
    "e\u0301 \u00e9 \u017f \u180e\u2003\u00a0\u3000 \u200b ½ ² Ⅷ ①".encode(),
    "👩\u200d👩\u200d👧 🏳️\u200d🌈 \U0001f1e9\U0001f1ea".encode(),
    b"one<|endoftext|>two <|endoftext|> <|endoftext", b"nul \0 inside", b"\xff\xfe a \xc3( \xe4\xb8 \xf0\x9f\x98 \xed\xa0\x80 \xf4\x90\x80\x80 end\xe2\x82",
    b" = Robert Boulter = \n \n Robert Boulter is an English film , television and theatre actor .",
]


def c_string(b):
    return '"' + "".join(chr(c) if 32 <= c < 127 and c not in b'"\\?' else "\\%03o" % c for c in b) + '"'


t = tokenizers.Tokenizer.from_file("tests/data/quickstart/tokenizer.json")
print("/* Made by tests/tokenizer/make_expected.py with tokenizers %s. SPDX-License-Identifier: Apache-2.0 */" % tokenizers.__version__)
print("static const struct {\n    const char *text;\n    int bytes, n;\n    int32_t ids[128];\n} quickstart_ids[] = {")
for b in TEXTS:
    ids = t.encode(b.decode("utf-8", errors="replace")).ids
    assert len(ids) <= 128
    print("    {%s,\n     %d, %d, {%s}}," % (c_string(b), len(b), len(ids), ", ".join(map(str, ids or [0]))))
print("};")
