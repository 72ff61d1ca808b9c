#!/bin/sh
# make check-clients: opens our outputs with the programs that people use, from PyPI, in an environment outside the tree, and compares what they
# compute with our own evaluation of the same files, window by window (sums of log-likelihoods). The models: the bundled one, wiki5m when it is in $QEP_SHARED/models, and a small
# random one of every family. llama.cpp comes as the wheel cyllama: llama-cpp-python is source alone, half an hour of compiling.
# What a program is known not to support is listed with its message, anything else that it does not open fails. vLLM's loader cannot run here:
# its rules are checked by vllm_rules.py (that it finds what is broken: tests/run/test_vllm_rules.sh).
# Minutes of work and about 3 GB of packages. QEP_VENVS: where the environment lies. SPDX-License-Identifier: Apache-2.0
. tests/run/lib.sh
LIMIT=${QEP_RUN_TIMEOUT:-300}
here=$PWD/tests/clients
python=$(sh tests/support/venv.sh clients torch==2.13.0 transformers==5.23.0 compressed-tensors==0.20.0 optimum==2.3.0 gguf==0.19.0 accelerate numpy \
    safetensors threadpoolctl dill multiprocess xxhash pillow datasets '--no-deps logbar==0.4.15' '--no-deps device-smi==0.5.7' '--no-deps defuser==0.0.28' \
    '--no-deps tokenicer==0.0.14' '--no-deps pypcre==0.6.4' '--no-deps torchao==0.18.0' '--no-deps gptqmodel==7.7.0' '--no-deps cyllama==0.2.18') || exit $?
data=$PWD/tests/data
shared=${QEP_SHARED:-$PWD/../shared}
cd "$work" || exit 1
: >cases
: >ggufs
: >llamas
overrides= # sections of the configuration
mixture= # of a mixture of experts: the original, and the gptq output with the same codes

# quantize MODEL TOKENS NAME SETTING...: a gptq output, and the settings to evaluate it again in f32, window by window
quantize() {
    m=$1 t=$2 name=$3
    shift 3
    printf '[model]\npath = %s\n[output]\npath = %s\n[calibration]\ndata = %s\nsamples = 8\nlength = 64\nvalidation = 0\n%b' "$m" "$name" "$t" "$overrides" >"$name.ini"
    settings=
    for s in "$@"; do settings="$settings --set $s"; done
    # shellcheck disable=SC2086 # a list
    run 1 "$name.ini" $settings
    [ "$code" = 0 ] || bail_out "$name: quantizing ended with $code"
}

# figures NAME TOKENS: what our own evaluation makes of the files, in f32
figures() {
    printf '[model]\npath = %s\n[output]\npath = %s.eval\n[quantization]\nmethod = none\n[correction]\nmethod = none\n[evaluation]\ndata = v:%s\nlength = 32\ntokens = 1024\n[run]\ncompute = f32\nlog_level = debug\n' \
        "$1" "$1" "$2" >eval.ini
    run 1 eval.ini
    [ "$code" = 0 ] || bail_out "$1: evaluating ended with $code"
    sed -n 's/.*evaluation sequence \([0-9]*\) of this rank: negative log-likelihood \([^ ]*\) .*/\1 \2/p' log >"$1.nll"
    [ -s "$1.nll" ] || bail_out "$1: no figures of windows"
}

# convert NAME FORMAT
convert() {
    run 1 --convert "$1" --format "$2" --output "$1-$2"
    [ "$code" = 0 ] || bail_out "$1: converting to $2 ended with $code"
    cp "$1.nll" "$1-$2.nll"
    echo "$1-$2 $tokens $mixture" >>cases
}

# gguf NAME: for llama.cpp
gguf() {
    run 1 --convert "$1" --format gguf --output "$1-gguf"
    check "$1: a GGUF file" [ "$code" = 0 ]
    cp "$1.nll" "$1-gguf.nll"
    echo "$1-gguf $tokens" >>llamas
}

# dense NAME: the weights in the model's own type, which are evaluated anew
dense() {
    convert "$1" dense
    figures "$1-dense" "$tokens"
}

# one NAME MODEL TOKENS EVALUATION BITS SYM GROUP ORDER [METHOD]
one() {
    name=$1 tokens=$4
    case $8 in
        none) order=quantization.act_order=no ;;
        static) order="quantization.act_order=yes quantization.static_groups=yes" ;;
        dynamic) order="quantization.act_order=yes quantization.static_groups=no" ;;
    esac
    # shellcheck disable=SC2086 # a list
    quantize "$2" "$3" "$name" "quantization.method=${9:-gptq}" "quantization.bits=$5" "quantization.symmetric=$6" "quantization.group_size=$7" $order
    figures "$name" "$tokens"
    echo "$name $tokens" >>cases
    convert "$name" gptq_v2
    [ "$8" = dynamic ] || convert "$name" compressed-tensors
    gguf "$name"
    echo "$name $name-gguf" >>ggufs
    if [ "$5" = 4 ] && [ "$8" != dynamic ]; then convert "$name" awq; fi
}

sweep() { # sweep PREFIX MODEL TOKENS EVALUATION GROUP
    for bits in 2 3 4 8; do
        for sym in yes no; do
            for group in "$5" -1; do one "$1-b$bits-$sym-g$group" "$2" "$3" "$4" $bits $sym "$group" none; done
        done
        for sym in yes no; do one "$1-b$bits-$sym-g$5-act" "$2" "$3" "$4" $bits $sym "$5" dynamic; done
    done
    for sym in yes no; do one "$1-b4-$sym-g$5-static" "$2" "$3" "$4" 4 $sym "$5" static; done
    dense "$1-b4-no-g$5-static"
    one "$1-b3-no-g-1-static" "$2" "$3" "$4" 3 no -1 static
    one "$1-b4-no-g$5-method" "$2" "$3" "$4" 4 no "$5" none awq # channels scaled, the scales' inverses in the norms
}

# settings of single modules: every way in which a configuration says them
mixed() { # mixed NAME MODEL TOKENS EVALUATION
    name=$1 tokens=$4 overrides='[override first]\nmatch = *.layers.0.self_attn.?_proj\nbits = 8\n[override down]\nmatch = *.down_proj\nbits = 8\ngroup_size = -1\n[override gate]\nmatch = *.layers.1.mlp.gate_proj\nbits = 3\n[override up]\nmatch = *.layers.1.mlp.up_proj\nbits = 3\n[override o]\nmatch = *.layers.1.self_attn.o_proj\nmethod = none\n'
    quantize "$2" "$3" "$name" quantization.bits=4 quantization.symmetric=yes quantization.group_size=32
    figures "$name" "$tokens"
    echo "$name $tokens" >>cases
    for f in gptq_v2 compressed-tensors; do convert "$name" $f; done
    gguf "$name"
    overrides=
}

mixed quickstart-mixed "$data/quickstart" "$data/quickstart_tokens/calibration.npy" "$data/quickstart_tokens/validation.npy"
sweep quickstart "$data/quickstart" "$data/quickstart_tokens/calibration.npy" "$data/quickstart_tokens/validation.npy" 32
if [ -d "$shared/models/wiki5m" ]; then
    wiki=$shared/models/wiki5m_tokens
    one wiki5m-b4-yes-g128 "$shared/models/wiki5m" "$wiki/calibration.npy" "$wiki/wikitext2_valid.npy" 4 yes 128 none
    one wiki5m-b3-no-g64 "$shared/models/wiki5m" "$wiki/calibration.npy" "$wiki/wikitext2_valid.npy" 3 no 64 none
    one wiki5m-b8-no-g128-act "$shared/models/wiki5m" "$wiki/calibration.npy" "$wiki/wikitext2_valid.npy" 8 no 128 dynamic
else
    skip 'wiki5m' "it is not in $shared/models"
fi
# family NAME: a small random model
family() {
    name=$1 tokens=$PWD/families/tokens.npy mixture=
    case $1 in mixtral | qwen3_moe) mixture="families/$1 $1" ;; esac
    quantize "families/$1" "$tokens" "$name" quantization.bits=4 quantization.symmetric=yes quantization.group_size=32
    figures "$name" "$tokens"
    gguf "$name"
    case $1 in *_all) return 0 ;; esac # for llama.cpp
    [ -z "$mixture" ] || echo "$name $name-gguf" >>ggufs
    echo "$name $tokens $mixture" >>cases
    convert "$name" compressed-tensors
    [ -z "$mixture" ] || convert "$name" awq
}

"$python" "$here/make_families.py" families "$data/quickstart" >names 2>made.err || { tail -n 5 made.err; bail_out 'the models of the families were not made'; }
while read -r f; do family "$f"; done <names

"$python" -u "$here/open.py" cases opened >opened.err 2>&1 || { tail -n 20 opened.err; not_ok 'the clients ran to their end'; }
# known NAME MESSAGE: transformers has no place for packed experts (README, "Formats"), and GPTQModel none for Mixtral's
known() {
    case "$1|$2" in
        'mixtral|'*' weights of random values, '*'; GPTQModel.load: '*'Missing required quantized weights'*) ;;
        'mixtral-awq|'*' weights of random values, '* | 'qwen3_moe-awq|'*' weights of random values, '*) ;;
        *) return 1 ;;
    esac
}

# verdicts LIST: one a line
verdicts() {
    while read -r verdict text; do
        case $verdict in
            ok) ok "$text" ;;
            unsupported) if known "${text%%|*}" "${text#*|}"; then skip "${text%%|*}" "${text#*|}"; else not_ok "$text"; fi ;;
            *) not_ok "$text" ;;
        esac
    done <"$1"
}

verdicts opened
check 'every case was opened' [ "$(wc -l <opened)" = "$(wc -l <cases)" ]
"$python" -u "$here/llama_cpp.py" llamas >spoken 2>llama.err || { tail -n 20 llama.err; not_ok 'llama.cpp ran to its end'; }
verdicts spoken
check 'every GGUF file was opened by llama.cpp' [ "$(wc -l <spoken)" = "$(wc -l <llamas)" ]
"$python" -u "$here/read_gguf.py" ggufs >gguf.out 2>gguf.err || { tail -n 20 gguf.err; not_ok 'the gguf reader ran to its end'; }
verdicts gguf.out
check 'every GGUF file was read' [ "$(wc -l <gguf.out)" = "$(wc -l <ggufs)" ]
while read -r name _; do
    case $name in *-dense) continue ;; esac # nothing packed
    check "vLLM's rules: $name" "$python" "$here/vllm_rules.py" "$name"
done <cases

finish
