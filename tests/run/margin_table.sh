#!/bin/sh
# margin_table.sh MODEL [BITS [METHOD...]]: the defaults beside the published methods with their authors' own settings (compat = paper), one group per row, f32, two
# calibration seeds each: KL divergence from the original on WikiText-2 test and on TinyStories, and the perplexity. MODEL: quickstart (calibrated on
# TinyStories) or wiki5m (calibrated on WikiText-2 train), in $QEP_SHARED/models. Minutes to an hour. SPDX-License-Identifier: Apache-2.0
set -u
cd "$(dirname "$0")/../.." || exit 1
QEP_MPI=${QEP_MPI:-${O:-build/release}/qep_mpi}
shared=${QEP_SHARED:-../shared}
case $shared in /*) ;; *) shared=$PWD/$shared ;; esac
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
unset OPENBLAS_CORETYPE OPENBLAS_L2_SIZE
model=${1:-quickstart}
bits=${2:-2 3 4}
methods="RTN GPTQ QEP+GPTQ QuIP QEP+QuIP AWQ QEP+AWQ GPTAQ ResComp FOEM default"
[ $# -gt 2 ] && shift 2 && methods=$*
case $model in
wiki5m) length=256 train=$shared/data/text/wikitext2/train.txt ;;
quickstart) length=128 train=$shared/data/text/tinystories/tinystories_train_2MiB.txt ;;
*) echo "margin_table.sh: MODEL is quickstart or wiki5m" >&2; exit 2 ;;
esac
[ -d "$shared/models/$model" ] || { echo "margin_table.sh: no model in $shared/models/$model; set QEP_SHARED" >&2; exit 2; }
work=$(mktemp -d "${TMPDIR:-/tmp}/qep_margin.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 130' HUP INT TERM
: >"$work/job.ini" # all settings are given as options

# settings METHOD: its authors' own, as in config/paper and the table of published rows
settings() {
    case $1 in
    default) return ;;
    default-nonorm) # not in the list of all: README's table of the final norm
        echo quantization.final_norm=no
        return ;;
    default-auto) # nor this one: alpha and damping fitted on held-out sequences
        echo correction.alpha=auto
        return ;;
    esac
    echo quantization.compat=paper quantization.final_norm=no correction.residual=0
    case $1 in
    *RTN) echo quantization.method=rtn quantization.grid=free quantization.clip=none ;;
    *AWQ) echo quantization.method=awq quantization.grid=free quantization.clip=hessian ;;
    *QuIP) echo quantization.method=quip quantization.clip=none quantization.damping=0.01 ;;
    *) echo quantization.damping=0.01 quantization.refit=0 quantization.sweeps=0 quantization.static_groups=no ;;
    esac
    case $1 in
    *GPTQ) echo quantization.act_order=no quantization.clip=none ;;
    GPTAQ | ResComp) echo "quantization.method=$(echo "$1" | tr '[:upper:]' '[:lower:]')" quantization.act_order=yes quantization.clip=mse ;;
    FOEM) echo quantization.method=foem quantization.foem_beta=0.0003 quantization.act_order=yes quantization.clip=none ;;
    esac
    case $1 in
    QEP*) echo correction.alpha=0.5 correction.damping=1 correction.exclude=down_proj ;;
    *) echo correction.method=none ;;
    esac
}

# figures: "perplexity KL" of both texts, from $work/out/summary.json
figures() {
    awk '{ text = text $0 }
        function figure(set, key,    s) {
            s = substr(text, index(text, "\"" set "\": {")); match(s, "\"" key "\": *[-+.0-9eE]+")
            s = substr(s, RSTART, RLENGTH); sub(/.*: */, "", s); return s }
        END { printf "%.3f %.5f %.3f %.5f\n", figure("wikitext2", "perplexity_quantized"), figure("wikitext2", "kl_divergence"),
            figure("tinystories", "perplexity_quantized"), figure("tinystories", "kl_divergence") }' "$work/out/summary.json"
}

printf '%-4s  %-15s%-5s%20s%20s\n%-4s  %-15s%-5s%20s%20s\n' bits method seed WikiText-2 TinyStories '' '' '' 'perplexity, KL' 'perplexity, KL'
for b in $bits; do
    for method in $methods; do
        for seed in 0 1; do
            set --
            for s in $(settings "$method"); do set -- "$@" --set "$s"; done
            rm -rf "$work/out"
            "$QEP_MPI" "$work/job.ini" --set model.path="$shared/models/$model" --set output.path="$work/out" --set output.format=dense \
                --set calibration.data="$train" --set calibration.length=$length --set calibration.seed=$seed \
                --set quantization.bits="$b" --set quantization.group_size=-1 --set run.compute=f32 --set checkpoint.every=never \
                --set evaluation.data="wikitext2:$shared/data/text/wikitext2/test.txt,tinystories:$shared/data/text/tinystories/tinystories_val.txt" \
                --set evaluation.length=$length --set evaluation.tokens=20480 "$@" </dev/null >"$work/log" 2>&1 || {
                echo "margin_table.sh: $method, $b bits:" >&2
                tail -n 4 "$work/log" >&2
                exit 1
            }
            figures >"$work/row"
            read -r wiki wiki_kl tiny tiny_kl <"$work/row"
            printf '%-4s  %-15s%-5s%12s%8.5f%12s%8.5f\n' "$b" "$method" "$seed" "$wiki" "$wiki_kl" "$tiny" "$tiny_kl"
        done
    done
done
