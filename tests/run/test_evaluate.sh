#!/bin/sh
# Evaluation alone: a finished quantized directory gives, to the last bit, the figures that the run which wrote it reported for its quantized
# stream; several data sets in one run give what each gives alone.
# SPDX-License-Identifier: Apache-2.0
. tests/run/lib.sh

forge model "$work/m" blocks=3 bias=1 shards=2
forge npy "$work/c.npy" i4 8x32 160
forge npy "$work/v.npy" i4 300 160
forge npy "$work/w.npy" u2 5x48 160
cd "$work" || exit 1
cat >make.ini <<'INI'
[model]
path = m
[output]
path = out
overwrite = yes
[calibration]
data = c.npy
samples = 8
[quantization]
group_size = 32
[evaluation]
data = v:v.npy, w:w.npy
length = 40
INI
cat >evaluate.ini <<'INI'
[model]
path = out
[output]
path = figures
overwrite = yes
[quantization]
method = none
[evaluation]
data = v:v.npy, w:w.npy
length = 40
INI

# same NAME FILE KEY FILE KEY: two numbers are there, in the very same digits
same() {
    a=$(json "$2" "$3") b=$(json "$4" "$5")
    if [ -n "$a" ] && [ "$a" = "$b" ]; then ok "$1"; else not_ok "$1: $a is not $b"; fi
}

# evaluated TEXT NP OPTION...: out is evaluated alone and gives the figures of the run that wrote it
evaluated() {
    what="$1, evaluated on $2 ranks" np=$2
    shift 2
    run "$np" evaluate.ini --restart no "$@"
    check "$what" [ "$code" = 0 ]
    for set in v w; do
        same "$what: perplexity of $set" out/summary.json evaluation.$set.perplexity_quantized \
            figures/summary.json evaluation.$set.perplexity_original
    done
}

run 2 make.ini --set run.compute=f32
check 'gptq, f32: written' [ "$code" = 0 ]
evaluated 'gptq, f32' 1 --set run.compute=f32
check 'the log says that the model is quantized' said 'is quantized: 21 linears in the gptq format'
evaluated 'gptq, f32' 3 --set run.compute=f32
a=$(json figures/summary.json evaluation.v.perplexity_original)
run 1 evaluate.ini --restart no --set run.compute=f32 --set evaluation.data=v:v.npy
check 'a data set alone gives what it gives beside another' [ "$a" = "$(json figures/summary.json evaluation.v.perplexity_original)" ]
check 'the head line calls it an evaluation' [ "$(json figures/summary.json headline.method)" = 'evaluation only' ]

run 1 make.ini --restart no --set quantization.bits=3 --set quantization.act_order=yes --set quantization.symmetric=yes \
    --set quantization.lm_head=yes
check 'act_order and lm_head, bf16: written' [ "$code" = 0 ]
evaluated 'act_order and lm_head, bf16' 2
printf '[override d]\nmatch = *.down_proj\nbits = 8\n[override o]\nmatch = *.o_proj\nmethod = none\n' | cat make.ini - >mixed.ini
run 1 mixed.ini --restart no --set quantization.bits=2 --set model.path=m
check 'mixed: written' [ "$code" = 0 ]
evaluated 'mixed' 1
run 1 make.ini --restart no --set output.format=dense
check 'dense: written' [ "$code" = 0 ]
evaluated 'dense' 1

# --- only some blocks ------------------------------------------------------------------------------
run 2 make.ini --restart no --set quantization.blocks=0-1
check 'blocks 0-1 of 3: written' [ "$code" = 0 ]
check '... 14 linears' [ "$(json out/summary.json modules)" = 14 ]
check "... and no other is packed" sh -c "! head -c 20000 out/model.safetensors | grep -aq layers.2.mlp.up_proj.qweight"
check '... the error goes on in the block behind them' \
    [ "$(json out/summary.json error_growth_absolute.evaluation.2)" != "$(json out/summary.json error_growth_absolute.evaluation.1)" ]
ratio=$(for k in error_growth error_growth_absolute; do json out/summary.json $k.evaluation.0; done | tr '\n' ' ')
check '... absolute and relative growth are there' awk -v r="$ratio" 'BEGIN { split(r, v, " "); exit !(v[1] > 0 && v[2] > v[1]) }'
first=$(json out/summary.json error_growth_absolute.calibration.0)
evaluated 'blocks 0-1' 1
run 1 --check out
check 'blocks 0-1: sound' [ "$code" = 0 ]
run 1 make.ini --restart no --set 'quantization.blocks=0, 2'
check 'blocks 0 and 2: the same first block' [ "$first" = "$(json out/summary.json error_growth_absolute.calibration.0)" ]
evaluated 'blocks 0 and 2' 1
run 1 make.ini --restart no --set quantization.blocks=1-3 --set output.path=beyond
check 'a block that the model has not: refused' [ "$code" = 1 ]
check '... with those it has' said 'quantization.blocks = 1-3 names block 3; the model has the blocks 0 to 2'

# --- what is refused -----------------------------------------------------------------------------
run 1 make.ini --restart no
run 1 make.ini --set model.path=out --set output.path=again
check 'quantizing a quantized model: refused' [ "$code" = 2 ]
check '... with the reason' said 'out is quantized already (gptq, 21 linears'
check '... and nothing is written' [ ! -e again ]
forge poke out/model.safetensors model.layers.1.mlp.up_proj.scales 10 0000
run 1 evaluate.ini --restart no
check 'a scale of zero: refused' [ "$code" = 2 ]
check '... naming the module' said 'module model.layers.1.mlp.up_proj: a scale is not finite or not positive'
edit out/config.json 's/"quant_method": "gptq"/"quant_method": "exl3"/'
run 1 evaluate.ini --restart no
check 'a format that is not known: refused' [ "$code" = 2 ]
check '... by name' said 'quant_method "exl3" cannot be read'
finish
