#!/bin/sh
# versus.sh PROGRAM MAKE_MODEL SOURCE: QEP+GPTQ by this program and by the code of the paper's authors (arXiv 2504.09629), of which SOURCE is the folder with
# llama.py and gptq.py: the same model (of Llama-2-7B's shape, or MODEL), tokens, settings and cores, in f32 and in bf16. Theirs: seconds of their loop over the
# blocks. Ours: the whole run, from its start to the written model.
# THREADS, TYPES, and the sizes of paper_run.sh. Makes its own Python environment (tests/support/venv.sh); torch's threads and ours are
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

# shellcheck disable=SC2154 # set by paper_run.sh
printf '%s, %d x %d tokens, QEP+GPTQ, %d bits, groups of %d, %d threads; seconds\n' "$model" "$samples" "$length" "$bits" "$group" "$threads"
printf '%-5s %12s %12s %8s\n' type theirs ours ratio
for type in ${TYPES:-f32 bf16}; do
    prepare_model "$make_model" "$type"
    "$python" "$(dirname "$0")/versus.py" "$source" "$work/model" "$work/tokens.npy" "$samples" "$length" "$type" "$threads" "$bits" "$group" >"$work/theirs.log" 2>&1 ||
        { tail -n 5 "$work/theirs.log" >&2; exit 1; }
    quantize "$type" "$program"
    awk -v type="$type" -v theirs="$(sed -n 's/^seconds //p' "$work/theirs.log")" -v ours="$seconds" \
        'BEGIN { printf "%-5s %12.1f %12.1f %8.1f\n", type, theirs, ours, theirs / ours }'
done
