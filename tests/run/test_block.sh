#!/bin/sh
# make block on a tiny model: a table with the fraction of the floor of every phase, from the same counts of flops as the program's plan where it does no
# more than the minimum (speed itself is not judged); a run that fails ends it. SPDX-License-Identifier: Apache-2.0
. tests/run/lib.sh
LIMIT=240
BENCH=$O/tests/bench
[ -x "$BENCH/bench_parts" ] && [ -x "$BENCH/make_model" ] || bail_out "no programs in $BENCH; make bench-programs first"
export RUNS=2x1 TYPES=bf16 MODEL='--hidden 256 --inter 704 --blocks 2 --heads 4 --kv 2' SAMPLES=4 LENGTH=128 GROUP=32

block() { timeout -k 5 "$LIMIT" tests/bench/block.sh "$1" "$2" "$BENCH/make_model" >"$work/log" 2>&1; }

block "$QEP_MPI" "$BENCH/bench_parts"
check 'it runs to its end' [ $? = 0 ]
for phase in forward statistics correction quantize together; do
    check "$phase: seconds and a fraction of the floor" grep -qE "^$phase +[0-9.e-]+ +[0-9.]+ +[0-9.]*[1-9][0-9.]* +0\.[0-9]{3}\$" "$work/log"
done
for part in linears attention loop; do
    check "$part: a floor, seconds and a fraction" grep -qE "^  $part +[0-9.e-]+  (gemm|fma) +[a-z0-9]+ +[0-9.]+ +[0-9.]*[1-9][0-9.]* +[0-9]+\.[0-9]{3}\$" "$work/log"
done
check 'quantize: seconds of what is in no part' sh -c 'sed -n "/^quantize/,/^together/p" "$1" | grep -qE "^  everything else +[0-9.]+\$"' - "$work/log"
check 'the parts of what is outside' grep -qE '^  of publish: sync [0-9.]+, checksums [0-9.]+$' "$work/log"
# counted WHOSE PART: TFLOP in the lines that set the minimum beside the program's plan
counted() { sed -n "s/^$1: .*$2 \([0-9.e-]*\)[ ,].*/\1/p" "$work/log"; }
for part in forward statistics factors correction; do
    minimum=$(counted minimum $part)
    check "$part: ${minimum:-no} TFLOP, as the program's plan has it" [ "${minimum:-none}" = "$(counted program $part)" ]
done
# the plan's TFLOP of quantize are the minimum and what the record of errors takes, within their three digits
with_forms() {
    forms=$(sed -n 's/^with the record of errors .*forms \([0-9.e-]*\) .*/\1/p' "$work/log")
    awk -v min="$(counted minimum quantization)" -v all="$(counted program quantization)" -v forms="${forms:-none}" \
        'BEGIN { e = (min + forms) / all - 1; exit !(forms > 0 && e * e < 1e-4) }'
}
check 'quantize: the record of errors wants quadratic forms' with_forms
check 'the fractions of all that is done' grep -qE '^with the record .* correction 0\.[0-9]{3}, quantize 0\.[0-9]{3}, together 0\.[0-9]{3}$' "$work/log"
check 'the rest of the run by name' grep -qE "^outside of these: [0-9.]+ % of the run's .* load [0-9.]+, write [0-9.]+," "$work/log"
check 'the share of the cores' grep -qE "^cores: .* [0-9.]*[1-9][0-9.]* % of the time of 2, for memory and files in the kernel [0-9.]+ %\$" "$work/log"

block false true # the second: no ceilings, which are not come to
check 'a program that fails ends it' [ $? = 1 ]
check '... before there is a table' sh -c '! grep -q QEP+GPTQ "$1"' - "$work/log"
finish
