#!/bin/sh
# The benchmark runs to its end on one and two ranks and prints every section with its fraction of a ceiling (speed itself is not judged).
# SPDX-License-Identifier: Apache-2.0
. tests/run/lib.sh
LIMIT=240
BENCH=$O/tests/bench/bench_parts
[ -x "$BENCH" ] || bail_out "no program $BENCH; make bench-programs first"

for np in 1 2; do
    QEP_MPI=$BENCH
    run "$np" --preset tiny --samples 1 --threads 1 --dir "$work/bench" --json "$work/bench.jsonl"
    if [ "$code" != 0 ]; then
        not_ok "on $np ranks: exit code $code"
        continue
    fi
    for section in forward streams statistics factor correction quantize transforms output checkpoint read; do
        if grep "^$section: " "$work/log" | grep -qE ' [0-9]+\.[0-9]{3} +(-|[0-9.]+)$'; then
            ok "on $np ranks: $section"
        else
            not_ok "on $np ranks: no row of $section with a fraction of its ceiling"
        fi
    done
    check "on $np ranks: GPTAQ beside GPTQ" grep -qE '[0-9] x gptq$' "$work/log"
done
finish
