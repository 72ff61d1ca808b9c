#!/bin/sh
# block.sh PROGRAM BENCH_PARTS MAKE_MODEL: a whole run of QEP+GPTQ on three blocks of Llama-2-7B's shape against its floor, the flops of the minimum scheme over
# the ceilings of this machine, phase by phase (block.awk has the formulas and prints the table). Three blocks, as the first touches all memory for the first
# time, and the others none. bench_parts measures the ceilings before and after every run, with the same ranks and threads; the means count. Where the two
# differ, or the run had its cores for only a part of the time, other programs took their share.
# RUNS (ranks x threads of each run; by default one rank with all cores and as many ranks as cores), TYPES, and the sizes of paper_run.sh. With more than one
# rank QEP_MPIRUN is the launcher (run_bench.sh). SPDX-License-Identifier: Apache-2.0
set -u
[ $# = 3 ] || { echo 'usage: block.sh PROGRAM BENCH_PARTS MAKE_MODEL' >&2; exit 2; }
program=$1 bench_parts=$2 make_model=$3
here=$(dirname "$0")
MODEL=${MODEL:---shape 7b --blocks 3}
export MODEL
# shellcheck source=tests/bench/paper_run.sh
. "$here/paper_run.sh"

# ceilings RANKS NAME: into $work/NAME.json; the tiny model and the part that does not exist leave nothing else to measure
ceilings() {
    "$here/run_bench.sh" "$1" "$bench_parts" --preset tiny --only nothing --dir "$work/ceilings" --json "$work/$2.json" >"$work/$2.log" 2>&1 ||
        { tail -n 5 "$work/$2.log" >&2; exit 1; }
}

for type in ${TYPES:-f32}; do
    prepare_model "$make_model" "$type"
    for run in ${RUNS:-1x$(nproc) $(nproc)x1}; do
        ranks=${run%x*}
        export OMP_NUM_THREADS="${run#*x}"
        ceilings "$ranks" before
        quantize "$type" "$here/run_bench.sh" "$ranks" "$program"
        ceilings "$ranks" after
        # shellcheck disable=SC2154 # set by paper_run.sh
        printf '%s, %d x %d tokens, QEP+GPTQ, %s, %d ranks x %d threads\n' "$model" "$samples" "$length" "$type" "$ranks" "$OMP_NUM_THREADS"
        grep -E '^(CPU|kernels|build) ' "$work/before.log"
        awk -f "$here/block.awk" -v type="$type" -v samples="$samples" -v T="$length" -v wall="$seconds" \
            -v processor="$processor" -v system_time="$system" -v cores=$((ranks * OMP_NUM_THREADS)) \
            "$work/before.json" "$work/after.json" "$work/model/config.json" "$work/out/summary.json" "$work/ours.log" || exit 1
        echo
    done
done
