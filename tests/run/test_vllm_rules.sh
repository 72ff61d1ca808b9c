#!/bin/sh
# vLLM's loaders cannot run here: their rules are checked by tests/clients/vllm_rules.py, which must find nothing in our outputs, dense and mixture of experts with settings of
# single modules, and must find each rule's broken example (tests/clients/broken_rules.py). SPDX-License-Identifier: Apache-2.0
. tests/run/lib.sh
here=$PWD/tests/clients
export PYTHONDONTWRITEBYTECODE=1
if ! command -v python3 >/dev/null 2>&1; then
    skip "vLLM's rules" 'no python3'
    finish
fi

cd "$work" || exit 1
forge model dense blocks=2 hidden=64 inter=96 heads=2 kv=1 head_dim=32 bias=1
forge model experts family=qwen3_moe blocks=4 hidden=64 inter=64 heads=2 kv=1 head_dim=32 experts=4 top_k=2
forge model mixtral family=mixtral blocks=2 hidden=64 inter=64 heads=2 kv=1 head_dim=32 experts=4 top_k=2
forge model wide blocks=1 hidden=192 inter=256 heads=2 kv=2 head_dim=96
forge npy c.npy i4 8x32 160

# quantize NAME MODEL SETTING...: also the settings of single modules in $overrides
quantize() {
    name=$1
    printf '[model]\npath = %s\n[output]\npath = %s\n[calibration]\ndata = c.npy\nsamples = 8\nvalidation = 0\n[quantization]\nbits = 4\ngroup_size = 32\nsymmetric = yes\n%s\n' \
        "$2" "$name" "$overrides" >"$name.ini"
    shift 2
    settings=
    for s in "$@"; do
        case $s in --*) settings="$settings $s" ;; *) settings="$settings --set $s" ;; esac
    done
    # shellcheck disable=SC2086 # a list
    run 2 "$name.ini" $settings
    [ "$code" = 0 ] || bail_out "$name: quantizing ended with $code"
}
module='[override %s]\nmatch = %s\n%s\n'
# shellcheck disable=SC2059 # a format
overrides=$(printf "$module$module$module" first '*.layers.0.self_attn.?_proj' 'bits = 8' down '*.down_proj' 'bits = 8' o '*.layers.1.self_attn.o_proj' 'method = none')
quantize gptq dense
check 'the plan says who does not take settings of single modules' said 'transformers + GPTQModel does not load it because of the own settings of model.layers.0.self_attn.q_proj and others'
check '... and who does' said 'GPTQModel.load loads it'
quantize asym dense quantization.symmetric=no
check 'no format is named where there is none' sh -c "grep -q 'vLLM does not load it' log && ! grep 'vLLM does not load it' log | grep -q 'it loads'"
# shellcheck disable=SC2059
overrides=$(printf "$module" o '*.layers.1.self_attn.o_proj' 'method = none')
quantize ct dense quantization.symmetric=no output.format=compressed-tensors
# shellcheck disable=SC2059
overrides=$(printf "$module" down '*.down_proj' 'bits = 8')
quantize grouped dense output.format=compressed-tensors
# shellcheck disable=SC2059
overrides=$(printf "$module" first '*.layers.1.mlp.experts.*' 'bits = 8')
quantize moe experts output.shard_size=40K
check 'the plan says who does not take experts' said 'transformers + GPTQModel does not load it because of the experts of model.layers.1.mlp.experts.0.gate_proj and others'
quantize moe_ct experts output.format=compressed-tensors
# shellcheck disable=SC2059
overrides=$(printf "$module" first '*.layers.1.mlp.experts.*' 'method = none')
quantize awq experts output.format=awq
overrides=
for f in gptq gptq_v2 compressed-tensors awq; do quantize "mixtral-$f" mixtral "output.format=$f"; done
# plan SETTING...: what the plan says of who loads a model whose shapes vLLM takes
plan() { quantize planned wide quantization.symmetric=no "$@" --dry-run; }
plan
check 'the plan says who does not take the grid, and the way out' said 'vLLM does not load it because of the asymmetric grid of model.layers.0.self_attn.q_proj and others; it loads [output] format = compressed-tensors'
check '... for each engine' said 'SGLang does not load it because of the asymmetric grid of model.layers.0.self_attn.q_proj and others'
plan output.format=compressed-tensors
check '... which is one' said '  vLLM loads it'
plan quantization.symmetric=yes quantization.act_order=yes quantization.static_groups=yes
check 'static groups: any columns' said '  vLLM loads it'
plan quantization.symmetric=yes quantization.act_order=yes quantization.static_groups=no
check 'act_order with groups in processing order: columns that are no multiples of 128' said 'vLLM does not load it because of the act_order without static_groups and the number of columns of model.layers.0.self_attn.q_proj and others'
check 'scales stay what they are in a model that is not bf16' sh -c "! grep -q 'scales cast' log"
quantize planned "$here/../data/quickstart" --dry-run
check '... and are cast in one that is' said '  vLLM loads it, with the F16 scales cast to BF16'
check '... by vLLM' [ "$(grep -c 'scales cast' log)" = 1 ]
for sizes in '128 128 -' '64 128 sizes of the experts' '128 64 -' '128 96 shape'; do
    # shellcheck disable=SC2086 # a list
    set -- $sizes
    hidden=$1 inter=$2
    shift 2
    want="  vLLM does not load it because of the $* of model.layers.0.block_sparse_moe.experts.0.w1"
    [ "$1" != - ] || want='  vLLM loads it'
    forge model sized family=mixtral blocks=1 "hidden=$hidden" "inter=$inter" heads=2 kv=2 head_dim=64 experts=2 top_k=1
    for group in 32 -1; do
        quantize planned sized quantization.group_size=$group --dry-run
        check "experts of $hidden, $inter in groups of $group: $want" said "$want"
    done
done
for d in moe_ct mixtral-*[a-z2]/; do
    check "vLLM's rules: $d" python3 "$here/vllm_rules.py" "${d%/}"
done
python3 "$here/broken_rules.py" "$PWD" >verdicts 2>log || not_ok 'the examples ran to their end'
while read -r verdict text; do
    if [ "$verdict" = ok ]; then ok "$text"; else not_ok "$text"; fi
done <verdicts
check 'and all of them' [ "$(grep -c broken: verdicts)" -gt 60 ]
# listed FORMAT MODEL TEXT SETTING...: a sound file that vLLM does not take is no fault, and it is said why
n=0
listed() {
    n=$((n + 1)) format=$1 model=$2 why=$3
    shift 3
    quantize "listed$n" "$model" "output.format=$format" "$@"
    check "not taken is not a fault: $format, $why" sh -c "python3 '$here/vllm_rules.py' listed$n >log"
    check '... and it is listed' grep -q "vLLM does not take it: .*: $why" log
}
listed gptq wide '4 bits, asymmetric' quantization.symmetric=no
listed gptq wide '3 bits, symmetric' quantization.bits=3
listed gptq wide 'group_size 16' quantization.group_size=16
listed gptq dense 'the shape '
listed gptq wide 'act_order with 192 columns' quantization.act_order=yes quantization.static_groups=no
listed compressed-tensors wide '8 bits, asymmetric' quantization.bits=8 quantization.symmetric=no
listed compressed-tensors wide 'group_size 16' quantization.group_size=16
listed compressed-tensors dense 'the shape ' quantization.symmetric=no
listed awq wide 'group_size 16' quantization.group_size=16
listed awq dense 'the shape '
quantize taken wide
python3 "$here/vllm_rules.py" taken >log
check 'of what it takes nothing is said' [ ! -s log ]
finish
