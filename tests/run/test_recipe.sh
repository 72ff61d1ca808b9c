#!/bin/sh
# The defaults, with final_norm = no as the recipe has it, against published settings. On the bundled model they beat GPTQ and QEP + GPTQ as published by KL;
# the record's errors are ordered;
# alpha = auto is fitted on held-out sequences and says what it chose. QEP_LONG=1: all seven settings on wiki5m reach the KL measured once for the same
# recipe in another program within 3 %, with a margin over every published method on WikiText-2 and, at 2 bits, on TinyStories (above 2 bits
# perplexities on so little text differ by noise: some published ones lie below that of full precision), and with a KL below GPTAQ's there at all
# seven. A few parts in 10^5 of the damping, or another CPU's rounding, flip single codes, and the KL moves by 2 %; the recipe's figure is one such
# draw, as is a run: one above 3 % is judged by the median of five.
# Needs the model wiki5m and its tokens beside the repository ($QEP_SHARED, default ../shared) for that. SPDX-License-Identifier: Apache-2.0
. tests/run/lib.sh

cat >"$work/small.ini" <<EOF
[model]
path = $PWD/tests/data/quickstart
[output]
path = out
overwrite = yes
[calibration]
data = $PWD/tests/data/quickstart_tokens/calibration.npy
samples = 32
selection = sequential
[quantization]
bits = 2
group_size = 64
final_norm = no
[evaluation]
data = eval:$PWD/tests/data/quickstart_tokens/validation.npy
tokens = 8192
[checkpoint]
every = never
EOF

# measure NP ARGS...: $kl, $ppl
measure() {
    np=$1
    shift
    run "$np" "$work/small.ini" --restart no "$@"
    kl=$(json "$work/out/summary.json" evaluation.eval.kl_divergence)
    ppl=$(json "$work/out/summary.json" evaluation.eval.perplexity_quantized)
}

published() {
    measure 1 --set quantization.act_order=no --set quantization.clip=none --set quantization.damping=0.01 --set quantization.refit=0 \
        --set quantization.sweeps=0 --set correction.residual=0 "$@"
}

# below A B FACTOR: A is a number below FACTOR * B
below() { awk -v a="$1" -v b="$2" -v f="$3" 'BEGIN { exit !(a + 0 > 0 && b + 0 > 0 && a < f * b) }'; }

# column NAME: that column of modules.csv, one value a line
column() { awk -F, -v name="$1" 'NR == 1 { for (i = 1; i <= NF; i++) if ($i == name) at = i; next } { print $at }' "$work/out/modules.csv"; }
mean() { column "$1" | awk '{ if ($1 == "") bad = 1; s += $1; n++ } END { print n && !bad ? s / n : "nan" }'; }

measure 1
best=$kl
for pair in 'error_corrected error_uncorrected' 'error_corrected error_after' 'error_after error_before' 'error_corrected_heldout error_uncorrected_heldout' 'error_corrected_heldout error_after_heldout' \
    'error_after_heldout error_before_heldout'; do
    low=$(mean "${pair% *}") high=$(mean "${pair#* }")
    check "modules.csv: mean ${pair% *} $low is below ${pair#* } $high" below "$low" "$high" 1
done
negative=$(for c in uncorrected before corrected after; do column "error_$c" && column "error_${c}_heldout"; done | awk '$1 != "" && !($1 >= 0)')
check "modules.csv: no error is below 0 ${negative:+but $negative}" [ -z "$negative" ]
shares=$(column residual | sed 's/^$/-/' | paste -d' ' - - - - - - - | sort -u)
check "modules.csv: the residual stream counts in o_proj and down_proj only: $shares" [ "$shares" = '- - - 0.5 - - 0.5' ]

published --set correction.method=none
check "KL $best is below that of published GPTQ, $kl" below "$best" "$kl" 0.75
published --set correction.alpha=0.5 --set correction.damping=1 --set correction.exclude=down_proj
check "KL $best is below that of published QEP + GPTQ, $kl" below "$best" "$kl" 0.75

measure 1 --set correction.alpha=auto
digest=$(json "$work/out/summary.json" digest)
check "alpha = auto: KL $kl is near $best" below "$kl" "$best" 1.1
odd=$(column correction_damping | grep -v -x -e 0.001 -e 0.01 -e 0.1 -e 1)
check "alpha = auto: the record has the dampings that were chosen" [ -z "$odd" ]
odd=$(column alpha | awk '!($1 >= 0 && $1 <= 1)') all=$(column alpha | sort -u | wc -l)
check "alpha = auto: $all strengths, between 0 and 1 ${odd:+, but $odd}" [ -z "$odd" -a "$all" -gt 4 ]
measure 3 --set correction.alpha=auto
check "alpha = auto: the same on 3 ranks" [ "$(json "$work/out/summary.json" digest)" = "$digest" ]

# ... and is the best there is for the held-out sequences: one linear alone is corrected, so that nothing in front of it moves
gate() { # OPTION...: $error of the first gate_proj on the held-out sequences, corrected and not rounded
    measure 1 --set correction.exclude=q_proj,k_proj,v_proj,o_proj,up_proj,down_proj --set run.compute=f32 --set quantization.refit=0 \
        --set quantization.clip=none --set evaluation.data= "$@"
    error=$(column error_corrected_heldout | sed -n 5p)
}
gate --set correction.alpha=auto
fitted=$error fitted_alpha=$(column alpha | sed -n 5p) fitted_damping=$(column correction_damping | sed -n 5p)
for damping in 0.001 0.01 0.1 1; do
    for alpha in 0.2 0.4 0.6 0.8 1; do
        gate --set correction.alpha=$alpha --set correction.damping=$damping
        below "$fitted" "$error" 1.000001 || break 2
    done
done
check "alpha = auto: held-out error $fitted at $fitted_alpha, $fitted_damping; none of 20 others is better: $error at $alpha, $damping" below "$fitted" "$error" 1.000001
for off in 0.05 -0.05; do
    near=$(awk -v a="$fitted_alpha" -v d=$off 'BEGIN { print a + d }')
    case $near in -*) continue ;; esac # alpha lies in 0 .. 1
    gate --set correction.alpha="$near" --set correction.damping="$fitted_damping"
    check "alpha = auto: $error beside it, at $near" below "$fitted" "$error" 1.000001
done
measure 1 --set correction.alpha=auto --set calibration.validation=0
check "alpha = auto without held-out sequences is refused" [ "$code" = 1 ]

if [ ! -d "$shared/models/wiki5m" ]; then
    skip "the recipe on wiki5m" "no model in $shared/models/wiki5m"
    finish
elif [ -z "${QEP_LONG:-}" ]; then
    skip "the recipe on wiki5m" "QEP_LONG=1 runs it"
    finish
fi

tokens=$shared/models/wiki5m_tokens
# wiki BITS GROUP FILE TOKENS ARGS...: $kl, $ppl
wiki() {
    bits=$1 group=$2 file=$3 count=$4
    shift 4
    measure 2 "$@" --set model.path="$shared/models/wiki5m" --set calibration.data="$tokens/calibration.npy" --set calibration.samples=128 \
        --set calibration.selection=random --set quantization.bits="$bits" --set quantization.group_size="$group" --set output.format=dense \
        --set run.compute=f32 --set evaluation.length=256 --set evaluation.data="eval:$tokens/$file" --set evaluation.tokens="$count"
}

# gptaq BITS GROUP: $kl on TinyStories with GPTAQ as published
gptaq() {
    case $2 in -1) paper=gptaq-actorder-mse-int$1 ;; *) paper=gptaq-actorder-mse-int$1-g$2 ;; esac
    paper_run 2 "$paper" tinystories_valid.npy 10240
    kl=$(json "$work/out/summary.json" evaluation.eval.kl_divergence)
}

# median BITS GROUP: $kl, of this run and four with slightly changed damping; $ppl stays this run's
median() {
    kls=$kl own=$ppl
    for damping in 0.299985 0.299994 0.300006 0.300015; do
        wiki "$1" "$2" wikitext2_test.npy 20480 --set quantization.damping=$damping
        kls="$kls $kl"
    done
    echo "# KL $kls"
    # shellcheck disable=SC2086 # a list
    kl=$(printf '%s\n' $kls | sort -g | sed -n 3p) ppl=$own
}

# row BITS GROUP KL PUBLISHED-KL PUBLISHED-STORIES: the recipe's KL; the best figures of the published methods: KL on WikiText-2 test, perplexity on TinyStories
row() {
    wiki "$1" "$2" wikitext2_test.npy 20480
    below "$kl" "$3" 1.03 || median "$1" "$2"
    check "$1 bit, group $2: KL $kl (perplexity $ppl), the recipe's $3" below "$kl" "$3" 1.03
    check "$1 bit, group $2: KL $kl is far below the best published, $4" below "$kl" "$4" 0.75
    wiki "$1" "$2" tinystories_valid.npy 10240
    stories=$kl
    [ "$1" != 2 ] || check "$1 bit, group $2: perplexity on TinyStories $ppl is below the best published, $5" below "$ppl" "$5" 1
    gptaq "$1" "$2"
    check "$1 bit, group $2: KL on TinyStories $stories is below GPTAQ's, $kl" below "$stories" "$kl" 1
}

while read -r row_bits row_group want kl_published stories; do
    row "$row_bits" "$row_group" "$want" "$kl_published" "$stories"
done <<EOF
2 -1 0.0365 0.0661 25.447
2 128 0.0330 0.0559 25.298
2 64 0.0310 0.0517 25.115
3 -1 0.0074 0.0115 22.787
3 128 0.0066 0.0100 22.576
4 -1 0.0019 0.0029 22.484
4 128 0.0017 0.0024 22.371
EOF
finish
