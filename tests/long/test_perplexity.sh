#!/bin/sh
# Perplexity of wiki5m from text (our tokenizer, our windows, our forward pass in f32) against transformers on the same text: within 1e-4.
# Needs $QEP_SHARED and a Python environment (tests/support/venv.sh). SPDX-License-Identifier: Apache-2.0
. tests/run/lib.sh
LIMIT=${QEP_RUN_TIMEOUT:-300}

model=$shared/models/wiki5m wiki=$shared/data/text/wikitext2/test.txt stories=$shared/data/text/tinystories/tinystories_val.txt
if [ ! -d "$model" ] || [ ! -f "$wiki" ] || [ ! -f "$stories" ]; then
    skip 'perplexity against transformers' "no model and texts in $shared"
    finish
fi
python=$(tests/support/venv.sh transformers torch==2.13.0 transformers tokenizers safetensors numpy) || {
    skip 'perplexity against transformers' 'no Python environment'
    finish
}
windows=80 length=256
cat >"$work/case.ini" <<INI
model.path = $model
output.path = out
evaluation.data = wikitext2:$wiki, tinystories:$stories
[quantization]
method = none
[correction]
method = none
[run]
compute = f32
INI
run 2 "$work/case.ini" --set evaluation.length=$length --set evaluation.tokens=$((windows * length))
[ "$code" = 0 ] || bail_out "the evaluation ended with $code"
for set in wikitext2 tinystories; do
    [ $set = wikitext2 ] && file=$wiki || file=$stories
    want=$("$python" tests/long/perplexity.py "$model" "$file" $length $windows 2>"$work/python.log") || bail_out "perplexity.py: $(tail -n 1 "$work/python.log")"
    got="$(json "$work/out/summary.json" evaluation.$set.perplexity_original) $(json "$work/out/summary.json" evaluation.$set.tokens)"
    check "$set: perplexity and predictions $got, transformers $want" awk -v a="$got" -v b="$want" \
        'BEGIN { split(a, x); split(b, y); d = x[1] / y[1] - 1; if (d < 0) d = -d; exit !((a b) ~ /^[0-9.e+ ]+$/ && x[1] > 1 && d <= 1e-4 && x[2] == y[2]) }'
done
finish
