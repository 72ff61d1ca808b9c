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
run_as() { run 1 case.ini --restart no "$@"; }
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

# AWQ: with grouped-query attention the published code leaves o_proj's inputs alone
awq='--set quantization.method=awq --set quantization.clip=hessian --set quantization.grid=free'
# shellcheck disable=SC2086 # several options
run_as $awq
check 'awq: o_proj is scaled with grouped-query attention too, where the format can hold it' [ "$code" = 0 -a -n "$(of o_proj scale_ratio)" ]
# shellcheck disable=SC2086
run_as $awq --set quantization.compat=paper
check 'awq, compat = paper: it is not' [ "$code" = 0 -a -z "$(of o_proj scale_ratio)" -a -n "$(of q_proj scale_ratio)" ]
check '... and the log says so' said 'the published code skips it with grouped-query attention'

# All of them: scales stay f32, so weights are written as F32
run_as --set quantization.method=rtn
check 'rtn: the model'"'"'s own type' [ "$(forge header out/model.safetensors | grep -o '"model.layers.0.mlp.up_proj.weight":{[^}]*' | kind)" = BF16 ]
run_as --set quantization.method=rtn --set quantization.compat=paper
check 'rtn, compat = paper: F32' [ "$(forge header out/model.safetensors | grep -o '"model.layers.0.mlp.up_proj.weight":{[^}]*' | kind)" = F32 ]
finish
