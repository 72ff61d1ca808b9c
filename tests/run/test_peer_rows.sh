#!/bin/sh
# The published methods on a real model: perplexity and KL divergence on the first 80 windows of WikiText-2 test, against what the
# authors' own codes give on the same model and tokens (measured once; figures in the table below). KL within 3 %, perplexity within 0.3 %.
# At 2 bits a change of one part in 10^5 in the damping moves the perplexity by more than that (single codes flip and the error
# propagates), and float32, in which the published codes sum H, does as much as 2 to 7 such parts, 4.9 in the median (tests/long/rounding.py on this model and
# its tokens); a row outside is therefore run again with changes up to 5, and passes when the published figure lies inside the spread. QuIP's rotations are
# random, and nobody knows the published ones: its spread is that of other seeds. AWQ has to be no worse: the published code looked
# at 16 sequences, and at 128 tokens for the ranges, ours looks at all of them.
# Needs the model wiki5m and its tokens beside the repository ($QEP_SHARED, default ../shared). QEP_LONG=1: all rows, else six.
# SPDX-License-Identifier: Apache-2.0
. tests/run/lib.sh

LIMIT=300 # AWQ pushes calibration tokens through each block 42 times
shared=${QEP_SHARED:-../shared}
case $shared in /*) ;; *) shared=$PWD/$shared ;; esac
if [ ! -d "$shared/models/wiki5m" ]; then
    skip "published rows on wiki5m" "no model in $shared/models/wiki5m"
    finish
fi

cat >"$work/base.ini" <<EOF
[model]
path = $shared/models/wiki5m
[output]
path = out
format = dense
[calibration]
data = $shared/models/wiki5m_tokens/calibration.npy
[quantization]
act_order = no
static_groups = no
clip = none
refit = 0
sweeps = 0
damping = 0.01
compat = paper
[correction]
method = none
residual = 0
[evaluation]
data = test:$shared/models/wiki5m_tokens/wikitext2_test.npy
length = 256
tokens = 20480
[checkpoint]
every = never
[run]
compute = f32
threads = 2
EOF

seed=0 # of QuIP's rotations

# measure DAMPING METHOD BITS GROUP: $ppl, $kl
measure() {
    rm -rf "$work/out"
    set -- "$1" "$2" --set quantization.damping="$1" --set quantization.bits="$3" --set quantization.group_size="$4"
    case $2 in *RTN*) m=rtn ;; FOEM*) m=foem ;; *GPTAQ) m=gptaq ;; ResComp) m=rescomp ;; *QuIP) m=quip ;; *AWQ) m=awq ;; *) m=gptq ;; esac
    set -- "$@" --set quantization.method=$m
    case $2 in FOEM*) set -- "$@" --set quantization.act_order=yes --set quantization.foem_beta=0.0003 ;; esac
    case $2 in FOEM+GPTAQ) set -- "$@" --set quantization.foem_alpha=0.25 ;; esac
    case $2 in *ao+mse* | GPTAQ | ResComp) set -- "$@" --set quantization.act_order=yes --set quantization.clip=mse ;; esac
    case $2 in *AWQ) set -- "$@" --set quantization.grid=free --set quantization.clip=hessian ;; esac
    case $2 in *QuIP) set -- "$@" --set quantization.rotation_seed="$seed" ;; esac
    case $2 in
    QEP*) set -- "$@" --set correction.method=qep --set correction.alpha=0.5 --set correction.exclude=down_proj --set correction.damping=1.0 ;;
    esac
    shift 2
    run 1 "$work/base.ini" "$@"
    ppl=$(json "$work/out/summary.json" evaluation.test.perplexity_quantized)
    kl=$(json "$work/out/summary.json" evaluation.test.kl_divergence)
}

# near VALUE WANTED TOLERANCE: relative; false for anything that is not a number
near() { awk -v a="$1" -v b="$2" -v t="$3" 'BEGIN { d = a / b - 1; if (d < 0) d = -d; exit !(a + 0 > 0 && d <= t) }'; }

# inside METHOD BITS GROUP PPL KL: the published figures are inside the spread of runs with slightly changed damping, or other rotations
inside() {
    low=$ppl high=$ppl kl_low=$kl kl_high=$kl
    for damping in 0.0099995 0.0099998 0.0100002 0.0100005; do
        case $1 in *QuIP) seed=$((seed + 1)) ;; esac
        measure "$damping" "$1" "$2" "$3"
        low=$(printf '%s\n%s\n' "$low" "$ppl" | sort -g | head -n 1) high=$(printf '%s\n%s\n' "$high" "$ppl" | sort -g | tail -n 1)
        kl_low=$(printf '%s\n%s\n' "$kl_low" "$kl" | sort -g | head -n 1) kl_high=$(printf '%s\n%s\n' "$kl_high" "$kl" | sort -g | tail -n 1)
    done
    seed=0
    echo "# spread: perplexity $low .. $high, KL $kl_low .. $kl_high"
    awk -v p="$4" -v k="$5" -v a="$low" -v b="$high" -v c="$kl_low" -v d="$kl_high" \
        'BEGIN { exit !(p >= a * 0.997 && p <= b * 1.003 && k >= c * 0.97 && k <= d * 1.03) }'
}

# row BITS GROUP METHOD PPL KL
row() {
    case "$1 $2 $3" in '3 -1 ResComp' | '3 -1 FOEM'* | '3 -1 '*QuIP) [ -n "${QEP_LONG:-}" ] || return 0 ;; esac
    [ "$1 $2" = "3 -1" ] || [ -n "${QEP_LONG:-}" ] || return 0
    measure 0.01 "$3" "$1" "$2"
    text="$3, $1 bit, group $2: perplexity $ppl (published code $4), KL $kl ($5)"
    if near "$ppl" "$4" 0.003 && near "$kl" "$5" 0.03; then
        ok "$text"
    elif [ "${3%AWQ}" != "$3" ]; then
        check "$text: no worse" awk -v p="$ppl" -v q="$4" -v k="$kl" -v l="$5" 'BEGIN { exit !(p + 0 > 0 && k + 0 > 0 && p <= 1.003 * q && k <= 1.03 * l) }'
    elif [ -n "$ppl" ] && inside "$3" "$1" "$2" "$4" "$5"; then
        ok "$text: inside the spread"
    else
        not_ok "$text"
    fi
}

while read -r bits group method ppl_want kl_want; do
    row "$bits" "$group" "$method" "$ppl_want" "$kl_want"
done <<EOF
2 -1 RTN 48.887 0.2679
2 -1 GPTQ 41.822 0.1254
2 -1 GPTQ+ao+mse 39.081 0.0730
2 -1 QEP+RTN 45.755 0.2089
2 -1 QEP+GPTQ 40.965 0.1127
2 -1 GPTAQ 38.917 0.0661
2 -1 ResComp 38.791 0.0661
2 -1 QuIP 39.286 0.0771
2 -1 QEP+QuIP 38.770 0.0675
2 -1 FOEM 40.911 0.1132
2 -1 FOEM+GPTAQ 40.358 0.1022
2 128 RTN 45.086 0.1959
2 128 GPTQ 40.515 0.1043
2 128 GPTQ+ao+mse 38.586 0.0623
2 128 QEP+GPTQ 40.250 0.0951
2 128 GPTAQ 38.348 0.0568
2 128 ResComp 38.454 0.0559
2 64 RTN 42.563 0.1551
2 64 GPTQ 39.415 0.0845
2 64 GPTQ+ao+mse 38.400 0.0578
2 64 QEP+RTN 41.296 0.1252
2 64 QEP+GPTQ 39.384 0.0765
2 64 GPTAQ 38.048 0.0517
2 64 ResComp 38.101 0.0519
2 64 AWQ 40.529 0.1075
2 64 QEP+AWQ 40.106 0.0991
2 64 FOEM 39.258 0.0758
2 64 FOEM+GPTAQ 39.113 0.0676
3 -1 RTN 37.713 0.0391
3 -1 GPTQ 36.873 0.0187
3 -1 GPTQ+ao+mse 36.493 0.0126
3 -1 QEP+RTN 37.289 0.0306
3 -1 QEP+GPTQ 36.620 0.0170
3 -1 GPTAQ 36.471 0.0115
3 -1 ResComp 36.412 0.0115
3 -1 QuIP 36.610 0.0152
3 -1 QEP+QuIP 36.428 0.0131
3 -1 FOEM 36.702 0.0165
3 -1 FOEM+GPTAQ 36.634 0.0152
3 128 RTN 37.330 0.0302
3 128 GPTQ 36.561 0.0150
3 128 GPTQ+ao+mse 36.493 0.0112
3 128 QEP+GPTQ 36.542 0.0138
3 128 GPTAQ 36.416 0.0100
3 128 ResComp 36.432 0.0103
4 -1 RTN 36.358 0.0078
4 -1 GPTQ 36.105 0.0039
4 -1 GPTQ+ao+mse 36.028 0.0031
4 -1 QEP+GPTQ 36.153 0.0036
4 -1 GPTAQ 36.080 0.0029
4 -1 ResComp 36.097 0.0029
4 128 RTN 36.216 0.0061
4 128 GPTQ 36.020 0.0031
4 128 GPTQ+ao+mse 35.998 0.0026
4 128 QEP+GPTQ 36.013 0.0029
4 128 GPTAQ 35.999 0.0024
4 128 ResComp 36.031 0.0024
EOF
finish
