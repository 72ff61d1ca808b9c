#!/bin/sh
# Sourced by versus.sh and block.sh: QEP+GPTQ with the settings of config/paper on a random model of blocks of Llama-2-7B's shape, one by default.
# MODEL (options of make_model; or a model's folder, with TOKENS, a file of SAMPLES x LENGTH token ids or more), SAMPLES, LENGTH, BITS, GROUP: other sizes.
# $work: a folder, removed at the end.
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh
model=${MODEL:---shape 7b --blocks 1} samples=${SAMPLES:-8} length=${LENGTH:-2048} bits=${BITS:-4} group=${GROUP:-128}
unset OPENBLAS_CORETYPE OPENBLAS_L2_SIZE
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
work=$(mktemp -d "${TMPDIR:-/tmp}/qep_bench.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 130' HUP INT TERM
sed '/^\[evaluation\]/,$d' "$(dirname "$0")/../../config/paper/qep-gptq-int4-g128.ini" >"$work/run.ini"

# prepare_model MAKE_MODEL TYPE: $work/model, a random one with weights of this type, or MODEL's folder; $work/tokens.npy
prepare_model() {
    rm -rf "$work/model"
    if [ -f "$model/config.json" ]; then
        ln -s "$(cd "$model" && pwd)" "$work/model" && cp "${TOKENS:?a file of token ids for $model}" "$work/tokens.npy" || exit 1
        return
    fi
    # shellcheck disable=SC2086 # several options
    "$1" "$work/model" $model --dtype "$2" --max-positions "$length" --tokens "$work/tokens.npy" --samples "$samples" --length "$length" || exit 1
}

# quantize TYPE COMMAND...: $work/model to $work/out, computed in this type; COMMAND: the program with what starts it. $seconds, $processor, $system: what
# it took, the time of all its threads on processors, and how much of that in the system's kernel.
quantize() {
    type=$1
    shift
    rm -rf "$work/out"
    times >"$work/times.begin"
    begin=$(date +%s.%N)
    "$@" "$work/run.ini" --set model.path="$work/model" --set output.path="$work/out" --set calibration.data="$work/tokens.npy" \
        --set calibration.samples="$samples" --set calibration.length="$length" --set calibration.selection=sequential --set calibration.validation=0 \
        --set quantization.bits="$bits" --set quantization.group_size="$group" --set checkpoint.every=never --set run.compute="$type" \
        >"$work/ours.log" 2>&1 || { tail -n 5 "$work/ours.log" >&2; exit 1; }
    times >"$work/times.end"
    seconds=$(awk -v begin="$begin" -v end="$(date +%s.%N)" 'BEGIN { print end - begin }')
    spent=$(awk 'FNR == 2 { gsub(/[ms]/, " "); all = 60 * ($1 + $3) + $2 + $4 - all; system_time = 60 * $3 + $4 - system_time }
        END { print all, system_time }' "$work/times.begin" "$work/times.end")
    processor=${spent% *} system=${spent#* }
}
