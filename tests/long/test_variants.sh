#!/bin/sh
# Rotary scalings, attention windows, caps, activations and routing of all families, on small random models: perplexity in f32 against transformers within 1e-6.
# Every variant has to move transformers' own perplexity of its family by more than that, or the comparison says nothing.
# Needs a Python environment (tests/support/venv.sh). SPDX-License-Identifier: Apache-2.0
. tests/run/lib.sh

python=$(tests/support/venv.sh transformers torch==2.13.0 transformers tokenizers safetensors numpy) || {
    skip 'variants against transformers' 'no Python environment'
    finish
}
variants=tests/long/variants.py
"$python" tests/clients/make_families.py "$work/families" tests/data/quickstart >"$work/log" 2>&1 || bail_out 'the models of the families were not made'
"$python" $variants make "$work/families" "$work/models" >"$work/log" 2>&1 || bail_out 'the variants were not made'
"$python" $variants figures "$work/models" >"$work/want" 2>"$work/log" || bail_out "transformers' figures"
check 'the variants are there' [ "$(wc -l <"$work/want")" -ge 35 ]

# near A B: within 1e-6, and both are numbers (mawk takes NaN for equal to all)
near() { awk -v a="$1" -v b="$2" 'BEGIN { if ((a b) !~ /^[0-9.e+]+$/) exit 1; d = a / b - 1; if (d < 0) d = -d; exit !(a > 1 && d <= 1e-6) }'; }
far() { ! near "$@"; }

while read -r name want; do
    cat >"$work/case.ini" <<INI
model.path = $work/models/$name
output.path = $work/out-$name
quantization.method = none
correction.method = none
evaluation.data = v:$work/models/tokens.npy
evaluation.length = 40
run.compute = f32
INI
    run 1 "$work/case.ini"
    got=none
    [ "$code" != 0 ] || got=$(json "$work/out-$name/summary.json" evaluation.v.perplexity_original)
    check "$name: perplexity $got, transformers $want" near "$got" "$want"
    case $name in
        *-plain) plain=$want ;;
        *-same) check "$name: as the plain model" near "$want" "$plain" ;;
        *) check "$name: not as the plain model, $plain" far "$want" "$plain" ;;
    esac
done <"$work/want"
finish
