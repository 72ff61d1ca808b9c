#!/bin/sh
# Lint finds what it is for: each breach is planted in a copy of the sources, and must be found, at its line; the copy
# itself must be clean. SPDX-License-Identifier: Apache-2.0
set -u
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
cp -R src include Makefile "$tmp" || exit 1
mkdir -p "$tmp/tests/bench"
cp -R tests/lint "$tmp/tests/lint"
cp tests/bench/bench.mk "$tmp/tests/bench"
cd "$tmp" || exit 1
n=0 failed=0

report() {
    n=$((n + 1))
    if [ "$1" = 0 ]; then echo "ok $n - $2"; else
        echo "not ok $n - $2"
        failed=1
    fi
}

# plant NAME FILE LINE TEXT: appends LINE to FILE; lint must say "FILE:<line>: ...TEXT"
plant() {
    existed=1
    if [ -f "$2" ]; then cp "$2" "$tmp/saved"; else existed=0; fi
    printf '%b\n' "$3" >>"$2"
    at=$(wc -l <"$2")
    sh tests/lint/lint.sh text >found 2>/dev/null
    code=$?
    line=$(grep -F "$4" found | head -n 1)
    case $code:$line in
        1:"$2:$at: "*) report 0 "$1" ;;
        1:"$2:"*)
            [ "${5:-}" = anywhere ] || echo "# $line, wanted line $at"
            [ "${5:-}" = anywhere ]
            report $? "$1"
            ;;
        *) echo "# exit code $code, found: $(head -n 3 found)"; report 1 "$1" ;;
    esac
    rm -f found
    if [ "$existed" = 1 ]; then mv "$tmp/saved" "$2"; else rm -f "$2"; fi
}

sh tests/lint/lint.sh text
report $? "the copy is clean"
plant "a header of a higher floor" src/base/error.c '#include "qep/model.h"' "may not include qep/model.h"
plant "a header that is not in the row" src/quant/grid.c '#include "qep/config.h"' "may not include qep/config.h"
plant "a header upward from a public header" include/qep/tensor.h '#include "qep/nn.h"' "may not include qep/nn.h"
plant "a private header of another module" src/nn/norm.c '#include "../quant/quant_priv.h"' "private header of another module"
plant "MPI behind its door" src/model/arch.c '#include <mpi.h>' "may not include mpi.h"
plant "MPI in main" src/run/main.c '#include "qep/par_mpi.h"' "may not include qep/par_mpi.h"
plant "HDF5 behind its door" src/run/run.c '#include <hdf5.h>' "may not include hdf5.h"
plant "BLAS behind its door" src/nn/norm.c '#include <cblas.h>' "may not include cblas.h"
plant "exit" src/run/run.c 'void f(void) { exit (3); }' "banned call: exit"
plant "assert" src/base/path.c '    assert(n > 0);' "banned call: assert"
plant "sprintf beside a comment" src/base/path.c '/* text */ sprintf(a, "%s", b); // more' "banned call: sprintf"
plant "the world communicator" src/par/reduce.c 'static MPI_Comm c = MPI_COMM_WORLD;' "MPI_COMM_WORLD"
mkdir -p src/extra
plant "a module without a row" src/extra/extra.c '/* SPDX-License-Identifier: Apache-2.0 */\nint qep_extra;' "not in tests/lint/floors.txt" anywhere
plant "a blank at a line's end" src/base/path.c 'int x; ' "blank at the end"
plant "a path of one machine" src/base/path.c "/* /wor""k/main */" "path of one machine"
plant "an unfinished note" src/base/path.c '/* TO''DO later */' "unfinished"
plant "no licence" src/base/new.c 'int qep_new;' "no SPDX" anywhere
plant "a long function" src/base/path.c "void f(void)\n{$(awk 'BEGIN { for (i = 0; i < 90; i++) printf "\\n    x;" }')\n}" "function of 93 lines" anywhere
plant "an edge that goes up" Makefile 'USES_base := par' "stands on floor 1, not below floor 0" anywhere

# what only looks like a breach
cat >>src/base/path.c <<'E2'
/* exit(1) and MPI_COMM_WORLD in a comment
 * that goes on: abort() */
static const char *const words = "exit(1) \" abort() MPI_COMM_WORLD"; // atoi(x)
static int qep_exit(int x) { return my_abort(x) + x.assert; }
E2
sh tests/lint/lint.sh text
report $? "comments, strings and longer names are no breach"
echo "1..$n"
exit $failed
