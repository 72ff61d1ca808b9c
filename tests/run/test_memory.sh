#!/bin/sh
# The plan's memory against what was allocated, in total and by name, on 1 to 4 ranks: total within 15 %, every name that matters
# (1 % of the total) within 15 %, and the peak of a rank falls as ranks are added. QEP_LONG=1: on 8, 16 and 32 ranks as well.
# SPDX-License-Identifier: Apache-2.0
. tests/run/lib.sh

cat >"$work/run.ini" <<EOF
[model]
path = $PWD/tests/data/quickstart
[output]
path = out
overwrite = yes
[calibration]
data = $PWD/tests/data/quickstart_tokens/calibration.npy
samples = 48
[quantization]
bits = 3
group_size = 32
[evaluation]
data = stories:$PWD/tests/data/quickstart_tokens/validation.npy
EOF

# within NAME PLANNED MEASURED TOTAL: relative difference at most 15 %, small amounts are left out
within() { awk -v p="$2" -v m="$3" -v t="$4" 'BEGIN { d = m - p; if (d < 0) d = -d; exit !(m + 0 > 0 && (d <= 0.15 * m || d < 0.01 * t)) }'; }

# planned_and_measured NAME: of rank 0, from the last run's summary
planned_and_measured() {
    sed -n '/"rank0"/,$p' "$summary" | sed -n "/\"$1\"/,/}/p" | sed -n 's/.*"\(planned\|measured\)": \([0-9]*\).*/\2/p' | head -n 2 | tr '\n' ' '
}

# the drivers of single methods: METHOD OPTIONS NAMES
summary=$work/out/summary.json
while read -r method options names; do
    # shellcheck disable=SC2046 # several options
    run 2 "$work/run.ini" --restart no --set output.format=dense --set quantization.method="$method" \
        $(for o in $(echo "$options" | tr ',' ' '); do echo "--set quantization.$o"; done)
    check "$method: finishes" [ "$code" = 0 ]
    total=$(json "$summary" memory.peaks.0.measured)
    for name in $names; do
        # shellcheck disable=SC2046 # two numbers
        set -- $(planned_and_measured "$name")
        check "$method: $name planned ${1:-none}, measured ${2:-none}" within "$name" "${1:-0}" "${2:-0}" "$total"
    done
    check "$method: in total" within total "$(json "$summary" memory.peaks.0.planned)" "$total" 0
done <<'METHODS'
awq clip=mse layer.search
quip group_size=-1,clip=none layer.rotate solve.rotated quantize.rotation
METHODS

previous='' all='1 2 3 4'
[ "${QEP_LONG:-0}" = 1 ] && all="$all 8 16 32" # as nodes of unequal size
for np in $all; do
    [ "$np" -lt 8 ] || export QEP_RANKS_PER_NODE=3
    for activations in keep recompute; do
        run "$np" "$work/run.ini" --restart no --set run.activations=$activations
        check "np $np, activations $activations: finishes" [ "$code" = 0 ]
        summary=$work/out/summary.json
        r=0
        while [ "$r" -lt "$np" ]; do
            planned=$(json "$summary" memory.peaks.$r.planned) measured=$(json "$summary" memory.peaks.$r.measured)
            check "np $np, $activations, rank $r: planned $planned, measured $measured bytes" within total "$planned" "$measured" 0
            r=$((r + 1))
        done
        total=$(json "$summary" memory.peaks.0.measured)
        for name in streams.fp streams.q streams.act run.sequence model.work model.block.fp model.block.q solve.stream layer.rows \
            quantize.strips quantize.polish layer.figures stats.gamma held.h held.c solve.h solve.c solve.factor dmat.factor solve.rows solve.pieces solve.turned stats.tap eval.logits model.head; do
            planned=$(sed -n "/\"rank0\"/,\$p" "$summary" | sed -n "/\"$name\"/,/}/s/.*\"planned\": \([0-9]*\).*/\1/p" | head -n 1)
            measured=$(sed -n "/\"rank0\"/,\$p" "$summary" | sed -n "/\"$name\"/,/}/s/.*\"measured\": \([0-9]*\).*/\1/p" | head -n 1)
            check "np $np, $activations: $name planned ${planned:-none}, measured ${measured:-none}" within "$name" "${planned:-0}" "${measured:-0}" "$total"
        done
        [ "$activations" = keep ] || continue
        [ -z "$previous" ] || [ "$np" -gt 4 ] || check "a rank of $np needs less than one of $((np - 1))" [ "$total" -lt "$previous" ]
        previous=$total
    done
done
unset QEP_RANKS_PER_NODE
# the matrices of the column-by-column methods, at most three at a time
for np in 1 3; do
    run "$np" "$work/run.ini" --restart no --set quantization.method=rescomp --set correction.method=none --set quantization.compat=paper --set output.format=dense
    summary=$work/out/summary.json
    for name in solve.p quantize.strips; do
        planned=$(sed -n "/\"rank0\"/,\$p" "$summary" | sed -n "/\"$name\"/,/}/s/.*\"planned\": \([0-9]*\).*/\1/p" | head -n 1)
        measured=$(sed -n "/\"rank0\"/,\$p" "$summary" | sed -n "/\"$name\"/,/}/s/.*\"measured\": \([0-9]*\).*/\1/p" | head -n 1)
        check "rescomp, np $np: $name planned ${planned:-none}, measured ${measured:-none}" within "$name" "${planned:-0}" "${measured:-0}" 0
    done
done
finish
