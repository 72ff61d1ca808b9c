#!/bin/sh
# The tokenizer against the tokenizers library itself: every text of $QEP_SHARED/data/text whole, the published vectors, every code point, and random texts
# (invalid UTF-8 among them) on the tokenizers there and on small ones, one for each part of a tokenizer.json. With QEP_LONG=1 only: it makes a
# Python environment and takes ten minutes; QEP_FUZZ_SECONDS (5) of random texts for each tokenizer. SPDX-License-Identifier: Apache-2.0
set -u
O=${O:-build/release}
if [ "${QEP_LONG:-0}" != 1 ]; then
    echo "ok 1 - the tokenizers library gives the same ids # SKIP long: QEP_LONG=1"
    echo "1..1"
    exit 0
fi
python=$(sh tests/support/venv.sh tokenizers tokenizers==0.23.3) || {
    echo "ok 1 - the tokenizers library gives the same ids # SKIP no Python environment"
    echo "1..1"
    exit 0
}
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
# shellcheck disable=SC2046,SC2086 # flags
${MPICC:-mpicc} -std=c11 -D_POSIX_C_SOURCE=200809L -O1 -Iinclude -fopenmp -o "$work/serve" tests/tokenizer/serve.c "$O/lib/libqep_tokenizer.a" "$O/lib/libqep_base.a" \
    $(pkg-config --libs jansson libpcre2-8 libutf8proc) -ldl -lm || {
    echo "Bail out! tests/tokenizer/serve.c does not compile"
    exit 1
}
"$python" tests/tokenizer/compare.py "$work/serve" "${QEP_SHARED:-../shared}" 1 "${QEP_FUZZ_SECONDS:-5}"
