#!/bin/sh
# The final norm's weight, fitted behind the last block: the divergence falls, the output holds what was evaluated, in every format and family, the same
# bytes on any number of ranks and after a restart; without it the model's own weight stays. SPDX-License-Identifier: Apache-2.0
. tests/run/lib.sh

forge model "$work/m" hidden=64 inter=96 heads=2 kv=2 head_dim=32 vocab=160 blocks=2 dtype=BF16
forge model "$work/gemma" family=gemma2 hidden=64 inter=96 heads=4 kv=2 head_dim=16 vocab=160 blocks=2 dtype=F32 tied=1
forge npy "$work/c.npy" i4 24x40 160
forge npy "$work/v.npy" i4 12x40 160
quick=$PWD/tests/data/quickstart tokens=$PWD/tests/data/quickstart_tokens
cd "$work" || exit 1
cat >case.ini <<'INI'
[model]
path = m
[output]
path = out
[calibration]
data = c.npy
samples = 16
validation = 8
[quantization]
bits = 2
group_size = 32
[evaluation]
data = val:v.npy
[run]
compute = f32
INI
sed "s|^path = m$|path = $quick|; s|c.npy|$tokens/calibration.npy|; s|v.npy|$tokens/validation.npy|; /^samples/s/16/40/" case.ini >quick.ini

figure() { json "${2:-out}/summary.json" "$1"; }
# less A B: both numbers, A below B
less() { awk -v a="$1" -v b="$2" 'BEGIN { exit !(a + 0 > 0 && b + 0 > 0 && a < b) }'; }
near() { awk -v a="$1" -v b="$2" 'BEGIN { d = a / b - 1; if (d < 0) d = -d; exit !(a + 0 > 0 && d <= 2e-6) }'; }
# norm DIR: checksum of the final norm's bytes
norm() { json "$1/qep_mpi.json" | awk '$1 ~ /model\.norm\.weight|output_norm\.weight/ { print $2 }'; }

# --- it helps ---------------------------------------------------------------------------------------
run 1 quick.ini --set evaluation.tokens=4096 --set quantization.final_norm=no
check 'not fitted: finishes' [ "$code" = 0 ]
check 'not fitted: summary.json does not speak of it' [ -z "$(figure final_norm.kept)" ]
mv out without
run 1 quick.ini --set evaluation.tokens=4096
check 'fitted by default: finishes' [ "$code" = 0 ]
check 'kept' [ "$(figure final_norm.kept)" = true ]
for set in calibration validation; do
    check "KL on the $set sequences: $(figure final_norm.kl_$set.before) -> $(figure final_norm.kl_$set.after)" \
        less "$(figure final_norm.kl_$set.after)" "$(figure final_norm.kl_$set.before)"
done
check "KL on other text: $(figure evaluation.val.kl_divergence without) -> $(figure evaluation.val.kl_divergence)" \
    less "$(figure evaluation.val.kl_divergence)" "$(figure evaluation.val.kl_divergence without)"
check 'the log tells it' said 'final norm fitted: KL on the calibration tokens'
check 'codes, scales and zeros are the same' [ "$(digest out)" = "$(digest without)" ]
check 'the tensor is not' [ -n "$(norm out)" -a "$(norm out)" != "$(norm without)" ]
check 'the report tells it' grep -q 'Final norm' out/report.html
run 1 --report out
check '... and that of the terminal' said 'final norm'
run 1 quick.ini --restart no --set output.overwrite=yes --set output.format=dense --set quantization.compat=paper --set quantization.static_groups=no
check 'compat = paper: not fitted' [ "$code" = 0 -a -z "$(figure final_norm.kept)" ]

# --- what is stored is what was evaluated -------------------------------------------------------------
# stored TEXT INI OPTION...: --check agrees; evaluated on its own, the output has the perplexity that the run measured
stored() {
    what=$1 ini=$2
    shift 2
    rm -rf out again
    run 2 "$ini" "$@"
    check "$what: fitted and kept" [ "$code" = 0 -a "$(figure final_norm.kept)" = true ]
    run 1 --check out
    check "$what: --check agrees" [ "$code" = 0 ]
    case $what in gguf) return 0 ;; esac
    run 1 "$ini" "$@" --set model.path="$work/out" --set output.path=again --set quantization.method=none
    check "$what: stored $(figure evaluation.val.perplexity_original again), measured $(figure evaluation.val.perplexity_quantized)" \
        near "$(figure evaluation.val.perplexity_original again)" "$(figure evaluation.val.perplexity_quantized)"
}
for format in gptq_v2 compressed-tensors dense gguf; do stored $format case.ini --set output.format=$format --set quantization.symmetric=no; done
stored awq case.ini --set output.format=awq --set quantization.bits=4
stored 'awq method, folded norms' case.ini --set output.format=awq --set quantization.bits=4 --set quantization.method=awq --set correction.method=none
stored 'gemma2: 1 + w, capped logits, tied' case.ini --set model.path=gemma --set output.format=dense
stored 'a quantized head' case.ini --set quantization.lm_head=yes --set output.format=gptq_v2

# --- the same bytes everywhere ------------------------------------------------------------------------
for np in 1 3; do
    rm -rf "n$np"
    run $np case.ini --set output.path="n$np" --set output.format=gptq_v2
    check "$np ranks: finishes" [ "$code" = 0 ]
done
check 'the same bytes on 1 and 3 ranks' cmp -s n1/model.safetensors n3/model.safetensors
check 'the same figures' [ "$(json n1/summary.json | grep '^final_norm')" = "$(json n3/summary.json | grep '^final_norm')" ]
for block in 1 2; do
    mkdir -p stopped
    : >stopped/STOP
    run 2 case.ini --set output.path=stopped --set output.format=gptq_v2
    check "stopped behind block $block of 2" [ "$code" = 75 ]
done
run 3 case.ini --set output.path=stopped --set output.format=gptq_v2
check 'resumed behind the last block: finishes' [ "$code" = 0 ]
check '... with the same bytes' cmp -s n1/model.safetensors stopped/model.safetensors

# --- where it cannot be -------------------------------------------------------------------------------
run 1 case.ini --set output.path=held --set calibration.validation=0
check 'without held-out sequences: fitted on the calibration tokens alone' [ "$code" = 0 ]
check '... and it says so' said 'no held-out sequences'
run 1 case.ini --set output.path=rtn --set quantization.method=rtn --set correction.method=none --set calibration.data=
check 'without calibration tokens: not fitted' [ "$code" = 0 -a -z "$(figure final_norm.kept rtn)" ]
run 1 case.ini --set output.path=rtn2 --set quantization.method=rtn --set correction.method=none --set calibration.data= --set quantization.final_norm=yes
check 'without calibration tokens, but asked for: refused' [ "$code" = 1 ]
check '... with the reason' said 'final_norm = yes'
finish
