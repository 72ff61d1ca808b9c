#!/bin/sh
# lint.sh [text|all]: the rules of the house that a compiler does not know; prints "file:line: finding" and exits 1 when there are any.
# text leaves out what needs a compiler or a build (headers compiled alone, exported symbols) and shellcheck.
# Run at the root of the tree. O: build folder. SPDX-License-Identifier: Apache-2.0
set -u
what=${1:-all}
O=${O:-build/release}
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT

# Files of the project: those that git knows or would add, else all that are there.
files() {
    git ls-files -co --exclude-standard -- "$@" 2>/dev/null | sort -u >"$tmp/files"
    [ -s "$tmp/files" ] || find "$@" -type f 2>/dev/null | sed 's,^\./,,' | grep -v -e '^build/' -e '^\.git/' >"$tmp/files"
    while read -r f; do [ -f "$f" ] && echo "$f"; done <"$tmp/files"
}

# Floors, doors, banned calls, length of functions.
sources() {
    MAKEFLAGS='' make -s --no-print-directory uses >"$tmp/uses.txt" || echo "Makefile:1: make uses does not work"
    # shellcheck disable=SC2046 # names without blanks
    awk -v longest=90 -f tests/lint/source.awk tests/lint/floors.txt "$tmp/uses.txt" $(files src include | grep '\.[ch]$')
}

# Blanks at line ends, tabs, paths of one machine, notes to self, missing licence lines.
texts() {
    files . | grep -v -e '\.npy$' -e '\.h5$' -e '\.safetensors$' -e '^tests/data/' -e '^tests/fuzz/corpus/' -e '^LICENSE$' >"$tmp/texts"
    # shellcheck disable=SC2046
    awk '
        /[ \t\r]$/ { printf "%s:%d: blank at the end of the line\n", FILENAME, FNR }
        FILENAME ~ /\.[ch]$/ && /\t/ { printf "%s:%d: tab\n", FILENAME, FNR }
        /(^|[^A-Za-z0-9_}])\/(wor[k]|far[m]|roo[t])\// { printf "%s:%d: path of one machine\n", FILENAME, FNR }
        /(^|[^A-Za-z0-9_])(TOD[O]|FIXM[E]|XX[X])([^A-Za-z0-9_]|$)/ { printf "%s:%d: unfinished (TOD" "O, FIXM" "E, XX" "X)\n", FILENAME, FNR }
        FNR == 1 { if (last && !seen) printf "%s:1: no SPDX-License-Identifier in the first 12 lines\n", last; last = ""; seen = 0 }
        FNR == 1 && FILENAME ~ /\.([ch]|sh|awk)$/ { last = FILENAME }
        FNR <= 12 && /SPDX-License-Identifier: Apache-2\.0/ { seen = 1 }
        END { if (last && !seen) printf "%s:1: no SPDX-License-Identifier in the first 12 lines\n", last }
    ' $(cat "$tmp/texts")
}

# Every public header compiles alone.
headers() {
    for h in $(files include | grep '\.h$'); do
        echo "#include \"${h#include/}\"" >"$tmp/alone.c"
        # shellcheck disable=SC2086 # lists of flags
        ${MPICC:-mpicc} -std=c11 -D_POSIX_C_SOURCE=200809L -Wall -Wextra -Werror -Iinclude ${PKG_CFLAGS:-} -fsyntax-only "$tmp/alone.c" \
            >"$tmp/log" 2>&1 || sed "1s,^,$h:1: does not compile alone: ,;2,\$d" "$tmp/log"
    done
}

# What a module exports begins with qep_.
symbols() {
    for lib in "$O"/lib/libqep_*.a; do
        [ -f "$lib" ] || { echo "Makefile:1: no libraries in $O/lib; build first"; return; }
        nm -A -g --defined-only "$lib" 2>/dev/null | awk '
            $3 !~ /^(qep_|__|\.gomp_critical_user_)/ { split($1, at, ":"); printf "%s:1: %s exports %s, which lacks the prefix qep_\n", at[1], at[2], $3 }'
    done
}

scripts() {
    command -v shellcheck >/dev/null 2>&1 || { echo "lint: shellcheck is not installed; shell scripts are not checked" >&2; return; }
    # job scripts are read by users: clean in every respect; tests: warnings and errors (SC2034: tests/run/lib.sh sets
    # variables for those who source it)
    # shellcheck disable=SC2046
    {
        shellcheck -f gcc $(files jobs | grep '\.sh$')
        shellcheck -S warning -e SC2034 -f gcc $(files tests .ci | grep -e '\.sh$' -e '^\.ci/run$')
    }
}

{
    sources
    texts
    if [ "$what" = all ]; then
        headers
        symbols
        scripts
    fi
} >"$tmp/findings"
cat "$tmp/findings"
if [ -s "$tmp/findings" ]; then
    echo "lint: $(wc -l <"$tmp/findings") findings" >&2
    exit 1
fi
