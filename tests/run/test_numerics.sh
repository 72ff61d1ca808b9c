#!/bin/sh
# Models and tokens that are numerically bad: every method of quantization gives a finite model with the repair in the log, or ends with an error
# that names the place and publishes nothing; stored scales are positive and finite. QEP_LONG=1: each damage alone, with every method, both
# types of computation and more formats. SPDX-License-Identifier: Apache-2.0
# The damages are functions called by name.
# shellcheck disable=SC2317
. tests/run/lib.sh
LIMIT=60

cd "$work" || exit 1
cat >case.ini <<'INI'
[model]
path = m
[output]
path = out
overwrite = yes
[calibration]
data = c.npy
samples = 8
validation = 4
[quantization]
group_size = 32
bits = 3
[evaluation]
data = val:e.npy
INI
forge npy e.npy u2 300 160

# --- damages: of block 0 if nothing else is said ---------------------------------------------------------

put() { forge set m/model.safetensors "$@"; } # TENSOR ROWS COLUMNS VALUE
put0() { put "model.layers.0.$1" "$2" "$3" "$4"; }
good() { # good [DTYPE]
    rm -rf m && forge model m blocks=2 dtype="${1:-F32}"
    forge npy c.npy i4 12x32 160
    options=''
}
zero_rows() { put0 self_attn.q_proj.weight 1-5 all 0; put0 mlp.down_proj.weight 7 all 0; }
zero_linear() { put0 mlp.gate_proj.weight all all 0; }
constant_rows() { put0 self_attn.q_proj.weight 7-9 all 0.25; put0 self_attn.o_proj.weight 3-40 all -0.01; }
equal_groups() { put0 self_attn.k_proj.weight all 0-31 0.5; put0 mlp.down_proj.weight all 32-63 -0.5; }
tiny_rows() { put0 self_attn.v_proj.weight 1-3 all x1e-7; put0 mlp.down_proj.weight 9 all 1e-40; }
dead_channels() { put0 input_layernorm.weight all 10-20 0; put0 mlp.up_proj.weight 5-40 all 0; }
dead_input() { put0 input_layernorm.weight all all 0; }
twins() { put model.embed_tokens.weight all 31-40 =30; put0 input_layernorm.weight all 30-40 1; }
all_alike() { put model.embed_tokens.weight all all =7; put0 input_layernorm.weight all all 1; }
outlier() { put0 input_layernorm.weight all 50 1e4; put0 post_attention_layernorm.weight all 51 x1e4; }
outlier_stream() { put model.embed_tokens.weight all 3 1e4; }
few_tokens() { forge npy c.npy i4 1x8 160; options='--set calibration.samples=1 --set calibration.validation=0'; }
one_token() { forge npy c.npy i4 1x32 1; options='--set calibration.samples=1 --set calibration.validation=0'; }
beyond_f16() { put0 self_attn.o_proj.weight 3 all x1e8; }
top_of_f16() { put0 mlp.up_proj.weight 3 1-9 65504; put0 mlp.up_proj.weight 4 1-9 -65504; }
overflow() { put0 mlp.up_proj.weight 3 all 1e20; put0 mlp.gate_proj.weight 3 all 1e20; }
overflow_last() { put model.layers.1.mlp.up_proj.weight 3 5 3e38; put model.layers.1.mlp.down_proj.weight all 3 1e4; }
overflow_head() { put lm_head.weight 3 all 3e38; }
nan() { put model.layers.1.mlp.up_proj.weight 3 5 nan; }
inf() { put model.layers.1.mlp.up_proj.weight 3 5 -inf; }

# --- what must come out -----------------------------------------------------------------------------------

settings() { # settings METHOD
    case $1 in
        default) ;;
        quip) echo '--set quantization.method=quip --set quantization.group_size=-1 --set output.format=dense' ;;
        gptaq | rescomp | foem) echo "--set quantization.method=$1 --set correction.method=none" ;;
        plain_*) echo "--set quantization.method=${1#plain_} --set correction.method=none" ;;
        *) echo "--set quantization.method=$1" ;;
    esac
}

is_number() { case $1 in '' | *[!-+.0-9e]*) return 1 ;; esac; }

# What is wrong with a result that claims to be one; nothing: all is well.
unsound() {
    set -- out/model*.safetensors
    if [ -e "$1" ]; then
        # shellcheck disable=SC2046 # three numbers
        set -- $("$FORGE" scan "$@")
        [ "${1:-0}" -gt 0 ] || echo 'no values;'
        [ "${2:-1}" = 0 ] || echo "${2:-?} values are not finite;"
        [ "${3:-1}" = 0 ] || echo "${3:-?} scales are not positive;"
    fi
    grep -qi -E ',-?(nan|inf)' out/modules.csv && echo 'modules.csv has a NaN;'
    for f in perplexity_original perplexity_quantized kl_divergence; do
        is_number "$(json out/summary.json evaluation.val.$f)" || echo "$f is no number;"
    done
}

# finite TITLE METHOD NP TEXT [OPTION...]: the run succeeds, its result is finite and the log says TEXT
finite() {
    title=$1 np=$3 text=$4
    # shellcheck disable=SC2046 # several options
    set -- $(settings "$2") "$@"
    while [ "$1" != "$title" ]; do set -- "$@" "$1"; shift; done
    shift 4
    rm -rf out
    # shellcheck disable=SC2086 # several options
    run "$np" case.ini "$@" $options
    [ "$code" = 0 ] || { not_ok "$title: exit code $code"; return 1; }
    said "$text" || { not_ok "$title: the log does not say: $text"; return 1; }
    bad=$(unsound)
    [ -z "$bad" ] || { not_ok "$title: $bad"; return 1; }
    ok "$title: finite${text:+, $text}"
}

# refused TITLE METHOD CODE TEXT [OPTION...]: ended with CODE and TEXT, nothing published
refused() {
    title=$1 want=$3 text=$4
    # shellcheck disable=SC2046 # several options
    set -- $(settings "$2") "$@"
    while [ "$1" != "$title" ]; do set -- "$@" "$1"; shift; done
    shift 4
    rm -rf out
    # shellcheck disable=SC2086 # several options
    run 1 case.ini "$@" $options
    if [ "$code" != "$want" ]; then
        not_ok "$title: exit code $code, not $want"
    elif ! said "$text"; then
        not_ok "$title: no message with: $text"
    elif [ -e out/config.json ] || [ -e out/summary.json ]; then
        not_ok "$title: it is published all the same"
    else
        ok "$title: exit code $want, $text"
    fi
}

methods='rtn plain_rtn gptq awq quip gptaq rescomp foem default'

good
for d in zero_rows constant_rows equal_groups tiny_rows dead_channels twins outlier; do $d; done
for m in $methods; do
    case $m in
        plain_rtn) text='do not fit f16' ;; # looks at no inputs
        *) text='input channels carry no signal' ;;
    esac
    finite "many damages at once, $m" "$m" 1 "$text"
done
check 'the log tells of scales that f16 cannot hold' said 'do not fit f16'
one=$(digest out)
finite 'many damages at once, 3 ranks' default 3 'input channels carry no signal'
check 'many damages at once: the same digest on 3 ranks' [ "$(digest out)" = "$one" ]

good
few_tokens
for m in $methods; do finite "8 tokens for 64 channels, $m" "$m" 1 ''; done
none='--set quantization.damping=0 --set correction.damping=0'
# shellcheck disable=SC2086 # several options
finite '8 tokens, no damping' gptq 1 'damping raised to' $none
check '... and modules.csv says so' awk -F, 'NR > 1 && $11 > 1 && $16 == 1 { n++ } END { exit !(n > 0) }' out/modules.csv
# shellcheck disable=SC2086
refused '8 tokens, no damping, on_failure = abort' gptq 4 'is not positive definite' $none --set run.on_failure=abort

good
overflow
for m in $methods; do refused "activations that overflow f32, $m" "$m" 4 'block 1: '; done
good
overflow_last
refused 'the last block overflows' plain_rtn 4 'block 2: the residual stream of the original model is not finite'
good
overflow_head
refused 'the head overflows' rtn 4 'evaluation set val: the logits of the original model are not finite'
good
nan
refused 'NaN in a weight' rtn 2 'tensor "model.layers.1.mlp.up_proj.weight": NaN at row 3, column 5'
good BF16
inf
refused 'infinity in a weight' default 2 'tensor "model.layers.1.mlp.up_proj.weight": infinity at row 3, column 5'
good
beyond_f16
finite 'weights beyond f16' rtn 1 'do not fit f16'
good F16
top_of_f16
finite 'weights at the top of f16' gptq 1 ''
refused 'weights at the top of f16, dense' gptq 4 'too large for F16' --set output.format=dense
refused 'weights at the top of f16, dense' awq 4 'too large for F16' --set output.format=dense

# --- each alone (QEP_LONG=1) ---------------------------------------------------------------------------------

if [ "${QEP_LONG:-0}" = 1 ]; then
    for d in zero_rows zero_linear constant_rows equal_groups tiny_rows dead_channels dead_input twins all_alike outlier outlier_stream few_tokens one_token beyond_f16; do
        for dtype in F32 BF16; do
            good $dtype
            $d
            for m in $methods; do
                finite "$d, $dtype, $m" "$m" 1 ''
                finite "$d, $dtype, $m, f32, 8 bits" "$m" 1 '' --set run.compute=f32 --set quantization.bits=8
                finite "$d, $dtype, $m, dense" "$m" 1 '' --set output.format=dense --set quantization.bits=2
            done
            for f in gptq_v2 compressed-tensors gguf; do
                finite "$d, $dtype, symmetric, $f" gptq 1 '' --set output.format=$f --set quantization.symmetric=yes
            done
            for m in rtn gptq awq quip; do
                finite "$d, $dtype, $m as published" "$m" 1 '' --set output.format=dense --set quantization.compat=paper
            done
        done
    done
else
    skip 'each damage alone, with every method' 'QEP_LONG=1 runs it'
fi
finish
