#!/bin/sh
# compat = paper where the published codes do something their papers do not say and a whole run shows it; without it the program does what the papers say.
# What a single layer shows is in tests/unit/quant (test_golden.c: as published; test_kin.c: as the papers have it). SPDX-License-Identifier: Apache-2.0
. tests/run/lib.sh

forge model "$work/m" hidden=64 inter=96 heads=4 kv=2 head_dim=16 vocab=160 blocks=1
forge npy "$work/c.npy" i4 8x32 160
cd "$work" || exit 1
cat >case.ini <<'INI'
[model]
path = m
[output]
path = out
format = dense
overwrite = yes
[calibration]
data = c.npy
samples = 8
[quantization]
bits = 3
group_size = -1
static_groups = no
clip = none
damping = 0.01
[correction]
method = none
[run]
compute = f32
INI
run_as() { rm -rf out; run 1 case.ini --restart no "$@"; }
# of NAME COLUMN: that column of modules.csv for the linear NAME
of() { awk -F, -v m="$1\$" -v name="$2" 'NR == 1 { for (i = 1; i <= NF; i++) if ($i == name) at = i; next } $1 ~ m { print $at; exit }' out/modules.csv; }
# near A B
near() { awk -v a="$1" -v b="$2" 'BEGIN { d = a - b; if (d < 0) d = -d; exit !(a + 0 > 0 && d <= 1e-6) }'; }
kind() { sed 's/.*"dtype":"\([A-Z0-9]*\)".*/\1/'; }

# GPTAQ and ResComp: the H that k, v, q and up, gate share is damped in place, again for each of them, unless channels are reordered
for method in gptaq rescomp; do
    run_as --set quantization.method=$method --set quantization.act_order=no
    for l in k_proj v_proj q_proj up_proj gate_proj down_proj; do
        check "$method: damping of $l as asked for: $(of $l damping)" near "$(of $l damping)" 0.01
    done
    run_as --set quantization.method=$method --set quantization.act_order=no --set quantization.compat=paper
    for pair in 'k_proj 0.01' 'v_proj 0.0201' 'q_proj 0.030301' 'up_proj 0.01' 'gate_proj 0.0201' 'o_proj 0.01' 'down_proj 0.01'; do
        check "$method, compat = paper: damping of ${pair% *}: $(of "${pair% *}" damping)" near "$(of "${pair% *}" damping)" "${pair#* }"
    done
    run_as --set quantization.method=$method --set quantization.act_order=yes --set quantization.compat=paper
    check "$method, compat = paper, act_order: damping of q_proj: $(of q_proj damping)" near "$(of q_proj damping)" 0.01
done

# A channel without signal. Its place in H: the mean of the living ones, or 1, whatever the inputs' scale
cp -r m small
forge set m/model.safetensors model.layers.0.input_layernorm.weight 0 7 0
forge set small/model.safetensors model.layers.0.input_layernorm.weight 0 all x0.015625
forge set small/model.safetensors model.layers.0.input_layernorm.weight 0 7 0
printf '[override %s]\nmatch = *.%s*\nmethod = none\n' o o_proj mlp mlp | cat case.ini - >qkv.ini
qkv() { rm -rf out; run 1 qkv.ini --restart no --set quantization.act_order=yes "$@"; digest out; }
one=$(qkv) two=$(qkv --set model.path=small)
check 'dead channel: codes do not depend on the scale of the inputs' [ -n "$one" -a "$one" = "$two" ]
one=$(qkv --set quantization.compat=paper) two=$(qkv --set model.path=small --set quantization.compat=paper)
check 'dead channel, compat = paper: they do' [ -n "$one" -a -n "$two" -a "$one" != "$two" ]
# ... and its weights: 0 before grids are made, or behind those of whole rows
largest() { # whether q_proj's largest scale is that of its dead weights; its group's, per row or not
    forge set m/model.safetensors model.layers.0.self_attn.q_proj.weight 3 7 "$1"
    qkv --set quantization.group_size="$2" --set quantization.compat="$3" >/dev/null
    awk -v s="$(of q_proj max_scale)" 'BEGIN { print (s + 0 <= 0 ? "none" : s > 10 ? "seen" : "not seen") }'
}
for case in '-1 none not' '-1 paper' '32 none not' '32 paper not'; do
    # shellcheck disable=SC2086 # three words
    set -- $case
    check "dead channel, group_size $1, compat = $2: its weights are ${3:+not }seen by the grid" [ "$(largest 1000 "$1" "$2")" = "${3:+not }seen" ]
done
forge set m/model.safetensors model.layers.0.self_attn.q_proj.weight 3 7 0

# QEP: corrected weights go back into the model in its type. With 127 steps on either side a row's scale shows its largest one
corrected() { run_as --set quantization.method=rtn --set quantization.bits=8 --set quantization.symmetric=yes --set quantization.grid=signed --set correction.method=qep --set correction.residual=0 "$@"; }
bf16_number() { awk -v v="$(of up_proj max_scale)" 'BEGIN { if (!(v > 0)) exit 2; v *= 127; while (v < 128) v *= 2; while (v >= 256) v /= 2; d = v - int(v + 0.5); exit !(d < 1e-4 && d > -1e-4) }'; }
not_bf16_number() { bf16_number; [ $? = 1 ]; }
corrected --set run.compute=bf16 --set quantization.compat=paper
check 'qep, compat = paper, bf16: corrected weights are bf16 numbers' bf16_number
corrected --set run.compute=f32 --set quantization.compat=paper
check 'qep, compat = paper, f32: they are not' not_bf16_number
corrected --set run.compute=bf16
check 'qep, bf16: they are not' not_bf16_number

# FOEM: the code'"'"'s form of its term is there with compat = paper
foem() { run_as --set quantization.method=foem --set quantization.foem_beta="$1" --set quantization.compat="$2"; digest out; }
check 'foem: the term counts' [ "$(foem 0.1 none)" != "$(foem 0 none)" ]
check 'foem, compat = paper: in units of H' [ "$(foem 1 paper)" != "$(foem 0 paper)" -a "$(foem 1e-9 paper)" = "$(foem 0 paper)" ]

# AWQ: with grouped-query attention the published code leaves o_proj's inputs alone
awq='--set quantization.method=awq --set quantization.clip=hessian --set quantization.grid=free'
# shellcheck disable=SC2086 # several options
run_as $awq
check 'awq: o_proj is scaled with grouped-query attention too, where the format can hold it' [ "$code" = 0 -a -n "$(of o_proj scale_ratio)" ]
# shellcheck disable=SC2086
run_as $awq --set quantization.compat=paper
check 'awq, compat = paper: it is not' [ "$code" = 0 -a -z "$(of o_proj scale_ratio)" -a -n "$(of q_proj scale_ratio)" ]
check '... and the log says so' said 'the published code skips it with grouped-query attention'

# ... and judges the scales in front of attention and MLP by what comes out of them: where nothing does, none is better than another
cp -r m mute
forge set mute/model.safetensors model.layers.0.self_attn.o_proj.weight all all 0
forge set mute/model.safetensors model.layers.0.mlp.down_proj.weight all all 0
# shellcheck disable=SC2086
run_as $awq --set model.path=mute --set quantization.compat=paper
check 'awq, compat = paper: scales by the output of attention and MLP' [ "$(of v_proj scale_ratio) $(of up_proj scale_ratio)" = '0 0' ]
# shellcheck disable=SC2086
run_as $awq --set model.path=mute
check 'awq: by the output of the linears' awk -v a="$(of v_proj scale_ratio)" -v b="$(of up_proj scale_ratio)" 'BEGIN { exit !(a > 0 && b > 0) }'

# ... whose searches go by the full-precision stream; linears of other methods beside it do not
printf '[override up]\nmatch = *.up_proj\nmethod = awq\nclip = none\n' | cat case.ini - >beside.ini
run_as --set quantization.compat=paper
alone=$(of gate_proj error_after)
run 1 beside.ini --restart no --set quantization.compat=paper
check "awq, compat = paper: gptq beside it has the inputs that it has alone: $alone" [ "$code" = 0 -a -n "$alone" -a "$(of gate_proj error_after)" = "$alone" ]

# All of them: scales stay f32, so weights are written as F32
run_as --set quantization.method=rtn
check 'rtn: the model'"'"'s own type' [ "$(forge header out/model.safetensors | grep -o '"model.layers.0.mlp.up_proj.weight":{[^}]*' | kind)" = BF16 ]
run_as --set quantization.method=rtn --set quantization.compat=paper
check 'rtn, compat = paper: F32' [ "$(forge header out/model.safetensors | grep -o '"model.layers.0.mlp.up_proj.weight":{[^}]*' | kind)" = F32 ]
finish
