#!/bin/sh
# versus.sh PROGRAM MAKE_MODEL SOURCE: QEP+GPTQ by this program and by the code of the paper's authors (arXiv 2504.09629), of which SOURCE is the folder with
# llama.py and gptq.py: the same model (of Llama-2-7B's shape, or MODEL), tokens, settings and cores, in f32 and in bf16. Theirs: seconds of their loop over the
# blocks. Ours: of the loop over the blocks, in which weights are read and written too (and tensors copied), and of the whole run, from its start to the written model.
# THREADS, TYPES, REPEAT, and the sizes of paper_run.sh. Makes its own Python environment (tests/support/venv.sh); torch's threads and ours are
# the same in number. SPDX-License-Identifier: Apache-2.0
set -u
[ $# = 3 ] || { echo 'usage: versus.sh PROGRAM MAKE_MODEL SOURCE' >&2; exit 2; }
program=$1 make_model=$2 source=$3
threads=${THREADS:-$(nproc)}
export OMP_NUM_THREADS="$threads"
[ -f "$source/llama.py" ] && [ -f "$source/gptq.py" ] || { echo "versus.sh: no llama.py and gptq.py in $source" >&2; exit 2; }
python=$(sh "$(dirname "$0")/../support/venv.sh" transformers torch==2.13.0 transformers tokenizers safetensors numpy) || exit $?
# shellcheck source=tests/bench/paper_run.sh
. "$(dirname "$0")/paper_run.sh"

# theirs TYPE, ours TYPE: append their seconds to $work/theirs, ours to $work/blocks and $work/whole
# shellcheck disable=SC2154 # set by paper_run.sh
theirs() {
    "$python" "$(dirname "$0")/versus.py" "$source" "$work/model" "$work/tokens.npy" "$samples" "$length" "$1" "$threads" "$bits" "$group" \
        >"$work/theirs.log" 2>&1 || { tail -n 5 "$work/theirs.log" >&2; exit 1; }
    sed -n 's/^seconds //p' "$work/theirs.log" >>"$work/theirs"
}
ours() {
    quantize "$1" "$program"
    echo "$seconds" >>"$work/whole"
    "$python" -c 'import json, sys
seconds = json.load(open(sys.argv[1]))["seconds"]
print(sum(seconds[k]["max"] for k in ("load", "forward", "statistics", "correction", "quantize", "write")))' "$work/out/summary.json" >>"$work/blocks" || exit 1
}
median() { sort -g "$1" | awk '{ x[NR] = $1 } END { print (x[int((NR + 1) / 2)] + x[int(NR / 2) + 1]) / 2 }'; }

printf '%s, %d x %d tokens, QEP+GPTQ, %d bits, groups of %d, %d threads; seconds, medians of %d\n' "$model" "$samples" "$length" "$bits" "$group" \
    "$threads" "${REPEAT:-1}"
printf '%-5s %12s %12s %8s %12s %8s\n' type theirs 'ours, blocks' ratio 'whole run' ratio
for type in ${TYPES:-f32 bf16}; do
    prepare_model "$make_model" "$type"
    rm -f "$work/theirs" "$work/blocks" "$work/whole"
    for turn in $(seq "${REPEAT:-1}"); do
        echo "versus.sh: $type, turn $turn" >&2
        theirs "$type"
        ours "$type"
    done
    awk -v type="$type" -v theirs="$(median "$work/theirs")" -v blocks="$(median "$work/blocks")" -v whole="$(median "$work/whole")" \
        'BEGIN { printf "%-5s %12.1f %12.1f %8.1f %12.1f %8.1f\n", type, theirs, blocks, theirs / blocks, whole, theirs / whole }'
done
