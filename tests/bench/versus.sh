#!/bin/sh
# versus.sh PROGRAM MAKE_MODEL SOURCE: QEP+GPTQ by this program and by the code of the paper's authors (arXiv 2504.09629), of which SOURCE is the folder with
# llama.py and gptq.py: the same random model of Llama-2-7B's shape, tokens, settings and cores, in f32 and in bf16. Theirs: seconds of their loop over the
# blocks. Ours: the whole run, from its start to the written model.
# MODEL (options of make_model), SAMPLES, LENGTH, BITS, GROUP, THREADS, TYPES: other sizes. Makes its own Python environment (tests/support/venv.sh); torch's threads and ours are
# the same in number. SPDX-License-Identifier: Apache-2.0
set -u
[ $# = 3 ] || { echo 'usage: versus.sh PROGRAM MAKE_MODEL SOURCE' >&2; exit 2; }
program=$1 make_model=$2 source=$3
model=${MODEL:---shape 7b --blocks 1} samples=${SAMPLES:-8} length=${LENGTH:-2048} bits=${BITS:-4} group=${GROUP:-128}
threads=${THREADS:-$(nproc)}
unset OPENBLAS_CORETYPE OPENBLAS_L2_SIZE
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMP_NUM_THREADS="$threads"
[ -f "$source/llama.py" ] && [ -f "$source/gptq.py" ] || { echo "versus.sh: no llama.py and gptq.py in $source" >&2; exit 2; }
python=$(sh "$(dirname "$0")/../support/venv.sh" transformers torch==2.13.0 transformers tokenizers safetensors numpy) || exit $?
work=$(mktemp -d "${TMPDIR:-/tmp}/qep_versus.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 130' HUP INT TERM

sed '/^\[evaluation\]/,$d' "$(dirname "$0")/../../config/paper/qep-gptq-int4-g128.ini" >"$work/run.ini"
printf '%s, %d x %d tokens, QEP+GPTQ, %d bits, groups of %d, %d threads; seconds\n' "$model" "$samples" "$length" "$bits" "$group" "$threads"
printf '%-5s %12s %12s %8s\n' type theirs ours ratio
for type in ${TYPES:-f32 bf16}; do
    rm -rf "$work/model" "$work/out"
    # shellcheck disable=SC2086 # several options
    "$make_model" "$work/model" $model --dtype "$type" --max-positions "$length" --tokens "$work/tokens.npy" --samples "$samples" \
        --length "$length" || exit 1
    "$python" "$(dirname "$0")/versus.py" "$source" "$work/model" "$work/tokens.npy" "$threads" "$bits" "$group" >"$work/theirs.log" 2>&1 ||
        { tail -n 5 "$work/theirs.log" >&2; exit 1; }
    begin=$(date +%s.%N)
    "$program" "$work/run.ini" --set model.path="$work/model" --set output.path="$work/out" --set calibration.data="$work/tokens.npy" \
        --set calibration.samples="$samples" --set calibration.length=auto --set calibration.selection=sequential --set calibration.validation=0 \
        --set quantization.bits="$bits" --set quantization.group_size="$group" --set checkpoint.every=never --set run.compute="$type" \
        >"$work/ours.log" 2>&1 || { tail -n 5 "$work/ours.log" >&2; exit 1; }
    end=$(date +%s.%N)
    awk -v type="$type" -v theirs="$(sed -n 's/^seconds //p' "$work/theirs.log")" -v begin="$begin" -v end="$end" \
        'BEGIN { printf "%-5s %12.1f %12.1f %8.1f\n", type, theirs, end - begin, theirs / (end - begin) }'
done
