#!/bin/sh
# Wrong input is refused with the right exit code and a message that says where the fault lies, before anything is written: the output folder
# stays absent or, in every second case, keeps the result of an earlier run byte by byte. SPDX-License-Identifier: Apache-2.0
# The table's last column is evaluated where the functions and the folder of a case are known, in a subshell.
# shellcheck disable=SC2317,SC2030,SC2031
. tests/run/lib.sh
LIMIT=30

base=$work/base
mkdir "$base"
forge model "$base/m"
forge model "$work/sharded" shards=2
forge npy "$base/c.npy" i4 8x32 160
forge npy "$base/e.npy" u2 300 160
cat >"$base/case.ini" <<'INI'
[model]
path = m
[output]
path = out
overwrite = yes
[calibration]
data = c.npy
samples = 8
[quantization]
bits = 4
group_size = 32
[correction]
method = qep
[evaluation]
data = val:e.npy
[checkpoint]
every = 1
INI

# An earlier result, at other bits; a run that was stopped; both are copied into the cases.
run 1 "$base/case.ini" --set quantization.bits=3 --set "output.path=$work/earlier"
[ "$code" = 0 ] || bail_out "the run that makes the earlier result ended with $code"
mkdir "$work/stopped"
touch "$work/stopped/STOP"
run 1 "$base/case.ini" --set "output.path=$work/stopped"
[ "$code" = 75 ] || bail_out "the run that was to stop ended with $code"

# --- what the table's last column can do, in the folder of the case -----------------------------

line() { edit case.ini "$1c\\
$2"; }                                            # line NUMBER TEXT
add() { printf '%s\n' "$@" >>case.ini; }          # add LINE...
opt() { set_options="$set_options $*"; }          # options without blanks
model() { edit m/config.json "$1"; }              # sed on config.json
header() { # header SED [FILE]
    f=m/${2:-model.safetensors}
    forge header "$f" | sed "$1" >header.json
    forge rehead "$f" <header.json
}
length() { printf %b "$1" | dd of=m/model.safetensors bs=1 conv=notrunc 2>/dev/null; } # eight bytes, octal
poke() { forge poke m/model.safetensors "$@"; }
sharded() { rm -r m && cp -r ../sharded m; }
tokens() { forge npy c.npy "$@"; }
bytes() { printf %b "$2" | dd of="$1" bs=1 seek="$3" conv=notrunc 2>/dev/null; } # bytes FILE OCTAL OFFSET
earlier() { rm -rf out && cp -r ../earlier out; }
stopped() { rm -rf out && cp -r ../stopped out; aside='qep_mpi.log qep_mpi.lock checkpoint.h5.lock'; }
checked() { earlier; command='--check out'; }
nobody() { chmod -R a+rX . && cd .. && chmod a+rx . && cd case && user='setpriv --reuid=65534 --regid=65534 --clear-groups'; }

# one CODE NP WHAT TEXT HOW
number=0
one() {
    number=$((number + 1))
    rm -rf "$work/case"
    cp -r "$base" "$work/case"
    (
        cd "$work/case" || exit 1
        set_options='' command=case.ini aside='' user='' skip_reason=''
        [ $((number % 2)) = 0 ] && earlier
        eval "$5"
        [ -n "$skip_reason" ] && { echo "skip $skip_reason"; exit; }
        # shellcheck disable=SC2086 # lists
        { tree . $aside; tree ../small; } >"$work/before"
        # shellcheck disable=SC2086
        run_case "$2" $command $set_options
        # shellcheck disable=SC2086
        { tree . $aside; tree ../small; } >"$work/after"
        verdict "$1" "$4"
    ) >"$work/verdict"
    read -r word rest <"$work/verdict"
    case $word in
        skip) skip "$3" "$rest" ;;
        good) ok "$3 (exit code $1, np $2)" ;;
        *) not_ok "$3 (np $2): $word $rest" ;;
    esac
}

run_case() { # as another user where asked for
    np=$1
    shift
    [ "$np" = 1 ] && launcher='' || launcher="$MPIRUN -np $np"
    # shellcheck disable=SC2086 # commands and options
    timeout -k 5 "$LIMIT" $user $launcher "$QEP_MPI" "$@" >"$work/log" 2>&1 </dev/null
    code=$?
}

verdict() {
    if hung "$code"; then
        echo "it hangs"
    elif [ "$code" != "$1" ]; then
        echo "exit code $code, not $1"
    elif ! said "$2"; then
        echo "no message with: $2"
    elif ! cmp -s "$work/before" "$work/after"; then
        echo "the output folder was changed: $(diff "$work/before" "$work/after" | tr '\n' ' ')"
    else
        echo good
    fi
}

# A file system of a few KB, where root may mount one.
on_small_disk() { # on_small_disk SIZE KEY=PATH
    skip_reason='no small file system can be mounted'
    mkdir -p "$work/small"
    umount "$work/small" 2>/dev/null
    mount -t tmpfs -o size="$1" none "$work/small" 2>/dev/null || return
    skip_reason=''
    opt --set "$2=$work/small/$3"
}
mounts=$work/small
only_root() { [ "$(id -u)" = 0 ] && command -v setpriv >/dev/null || skip_reason='needs root and setpriv'; }
# A model with token vectors so wide that the memory of this machine cannot hold them.
wide() {
    rm -r m && forge model m hidden=8192 inter=32 heads=1 kv=1 head_dim=32 blocks=1
    available=$(awk '/^MemAvailable:/ { print $2 }' /proc/meminfo) # KB; a token takes 64 of them
    rows=$((available / 64 / 64 + 64))
    tokens u2 "${rows}x64" 160
    opt --set "calibration.samples=$rows"
}

# code|ranks|what|text of the message|how
while IFS='|' read -r want ranks what text how; do
    case $want in '' | '#'*) continue ;; esac
    for np in $ranks; do one "$want" "$np" "$what" "$text" "$how"; done
done <<'TABLE'
# --- command line
1|1 3|no configuration file given|no configuration file; usage:|command=
1|1|unknown option|unknown option --dryrun|opt --dryrun
1|1|two configuration files|two configuration files: case.ini and other.ini|opt other.ini
1|1|a configuration file beside --check|--check looks at a finished output and takes no configuration file: case.ini|opt --check out
1|1|two outputs to look at|--check is given twice|command='--check a --check b'
1|1|two things to do with an output|--check and --convert: one at a time|command='--convert a --check b --format awq'
1|1|--dry-run beside --convert|--dry-run belongs to a run of a configuration file, not to --convert|command='--convert out --format dense --dry-run'
1|1|option without its value|--set needs a value|opt --set
1|1|wrong word after --restart|--restart maybe: use auto, yes or no|opt --restart maybe
1|1|wall time that is no time|--set run.walltime=soon: soon is not allowed|opt --walltime soon
1|1|--set without a section|--set bits=3|opt --set bits=3
1|1|--set of an unknown section|--set quant.bits=3|opt --set quant.bits=3
1|1 3|--set of an unknown key|--set quantization.bit=3|opt --set quantization.bit=3
1|1|--set of a bad value|--set quantization.bits=5: 5 is not allowed; allowed: 2, 3, 4, 8|opt --set quantization.bits=5
# --- configuration file
1|1 3|configuration file missing|nowhere.ini|command=nowhere.ini
1|1|configuration file is a directory|m|command=m
1|1|unknown section|case.ini:18: quantisation: unknown section|add [quantisation]
1|1 3|unknown key|case.ini:10: quantization.bit|line 10 'bit = 4'
1|1|key set twice|case.ini:11: quantization.bits: already set in line 10|line 11 'bits = 3'
1|1|section twice|case.ini:18: [model]: the section is already there in line 1|add '[model]'
1|1|key before any section|case.ini:1: path: a key needs a [section] above it|line 1 ''; line 1 'path = m'
1|1|line that is neither|case.ini:11|line 11 'group_size 32'
1|1|quote not closed|case.ini:2: model.path: a quote is not closed|line 2 'path = "m'
1|1|environment variable not set|the environment variable QEP_NOT_SET is not set|line 2 'path = ${QEP_NOT_SET}/m'
1|1|control character|case.ini:2: control character 0x01|line 2 "$(printf 'path = m\001')"
1|1|bits out of the list|case.ini:10: quantization.bits: 7 is not allowed; allowed: 2, 3, 4, 8|line 10 'bits = 7'
1|1|value missing|case.ini:10: quantization.bits: the value is missing|line 10 'bits ='
1|1|number with a tail|case.ini:8: calibration.samples: 8x is not allowed|line 8 'samples = 8x'
1|1|number beyond 64 bits|calibration.samples|line 8 'samples = 99999999999999999999'
1|1|zero samples|case.ini:8: calibration.samples: 0 is not allowed|line 8 'samples = 0'
1|1|group_size 0|case.ini:11: quantization.group_size: 0 is not allowed|line 11 'group_size = 0'
1|1|alpha out of range|correction.alpha=3|opt --set correction.alpha=3
1|1|damping not a number|quantization.damping=nan|opt --set quantization.damping=nan
1|1|method unknown|case.ini:10: quantization.method: awk is not allowed; allowed: none, rtn, gptq, gptaq, rescomp, foem|line 10 'method = awk'
1|1|format unknown|output.format=gguf2|opt --set output.format=gguf2
1|1|grid with more than one column|solver.grid=2x2|opt --set solver.grid=2x2
1|1|model path missing|model.path: missing|line 2 ''
1|1|output path missing|output.path: missing|line 4 ''
1|1|output is the model's folder|model's own directory|line 4 'path = m'
1|1|output is the model's folder by a link|model's own directory|ln -s m same; opt --set output.path=same
1|1|calibration data missing from the configuration|calibration.data: missing|line 7 ''
1|1|hessian clip with rtn|clip = hessian cannot be used with method = rtn|opt --set quantization.method=rtn --set quantization.clip=hessian
1|1|override without match|case.ini:18: override a: match is missing|add '[override a]' 'bits = 3'
1|1|override that changes nothing|case.ini:18: override a: the section changes nothing|add '[override a]' 'match = *'
1|1 3|override that matches nothing|model.layers.9.* |add '[override a]' 'match = model.layers.9.*' 'bits = 3'
1|1|two evaluation sets of one name|case.ini:15: evaluation.data: the name val is there twice|line 15 'data = val:e.npy, val:c.npy'
1|1|evaluation data without a name|case.ini:15: evaluation.data: e.npy is not name:file|line 15 'data = e.npy'
1|1|empty item of a list|case.ini:7: calibration.data: an item of the list is empty|line 7 'data = c.npy,,e.npy'
1|1 3|group_size that does not divide the columns|group_size 40 does not divide its 64 columns|line 11 'group_size = 40'
1|1|group_size wider than the matrix|group_size 128 does not divide its 64 columns|line 11 'group_size = 128'
1|1|rows that gptq words cannot hold|packs rows in words of 32 values|rm -r m; forge model m inter=72; line 11 'group_size = -1'; add '[override a]' 'match = *down_proj' 'method = none'
1|1|fused linears with different bits|have different bits|add '[override a]' 'match = *q_proj' 'bits = 8'
1|1|fused linears, one not quantized|is quantized|add '[override a]' 'match = *up_proj' 'method = none'
1|1|more files than samples|calibration.samples = 1 is less than the 2 files|line 7 'data = c.npy, e.npy'; line 8 'samples = 1'
1|1|finished result of another run, no overwrite|exists: set [output] overwrite = yes|earlier; line 5 ''
1|1|output path is a file|is a file, not a directory|rm -rf out; echo x >out
1|1|checkpoint path is a directory|is a directory|mkdir -p cp.h5; opt --set checkpoint.path=cp
# --- model
2|1 3|model folder missing|cannot open|line 2 'path = nowhere'
2|1|model folder without config.json|m/config.json|rm m/config.json
2|1|config.json is not JSON|config.json|model 's/"hidden_size"/hidden_size/'
2|1|config.json cut off|config.json|truncate -s 200 m/config.json
2|1|config.json is a list|must be a JSON object|echo '[]' >m/config.json
2|1|family not supported|model_type "bert"|model 's/"llama"/"bert"/'
2|1 3|size missing from config.json|key "hidden_size" is missing|model '/hidden_size/d'
2|1|size of the wrong type|key "hidden_size"|model 's/"hidden_size": 64/"hidden_size": "64"/'
2|1|size of zero|key "num_hidden_layers" is 0|model 's/"num_hidden_layers": 3/"num_hidden_layers": 0/'
2|1|heads that do not share evenly|num_attention_heads (4) must be a multiple of num_key_value_heads (3)|model 's/"num_key_value_heads": 2/"num_key_value_heads": 3/'
2|1|odd head size|the head size (15) must be even|model 's/"head_dim": 16/"head_dim": 15/'
2|1|activation not supported|key "hidden_act" is "gelu"|model 's/"silu"/"gelu"/'
2|1|rotary embedding not known|wavy|model 's/"vocab_size"/"rope_scaling": {"rope_type": "wavy", "factor": 2.0}, "vocab_size"/'
2|1|model packed in a way that is not known|quant_method "hqq" cannot be read|model 's/"vocab_size"/"quantization_config": {"quant_method": "hqq"}, "vocab_size"/'
2|1|sliding window|key "sliding_window"|model 's/"vocab_size"/"sliding_window": 64, "vocab_size"/'
2|1|more blocks than tensors|no weight file holds the tensor "model.layers.3.input_layernorm.weight"|model 's/"num_hidden_layers": 3/"num_hidden_layers": 4/'
2|1|bias announced, not there|no weight file holds the tensor "model.layers.0.self_attn.q_proj.bias"|model 's/"attention_bias": false/"attention_bias": true/'
2|1 3|shape that contradicts config.json|tensor "model.layers.0.mlp.gate_proj.weight" has the shape [96, 64]; config.json asks for [80, 64]|model 's/"intermediate_size": 96/"intermediate_size": 80/'
2|1|vocabulary that contradicts the embedding|tensor "model.embed_tokens.weight" has the shape [160, 64]|model 's/"vocab_size": 160/"vocab_size": 161/'
# --- safetensors
2|1|no weights|holds no weights: neither model.safetensors nor|rm m/model.safetensors
2|1|only pickled weights|only PyTorch pickle weights|mv m/model.safetensors m/pytorch_model.bin
2|1|weights under another name|a single file must be named model.safetensors|mv m/model.safetensors m/weights.safetensors
2|1|weights file empty|model.safetensors has only 0 bytes|truncate -s 0 m/model.safetensors
2|1|Git LFS pointer|Git LFS pointer|printf 'version https://git-lfs.github.com/spec/v1\n' >m/model.safetensors
2|1 3|header length beyond the file|goes beyond the end of the file|length '\0000\0000\0120\0000\0000\0000\0000\0000'
2|1|header length absurd|above the limit|length '\0377\0377\0377\0377\0377\0377\0377\0177'
2|1|header length 0|header length is 0|length '\0000\0000\0000\0000\0000\0000\0000\0000'
2|1|header not an object|header does not start with '{'|header 's/^{/[/'
2|1|header JSON broken|model.safetensors|header 's/"dtype"/dtype/'
2|1|tensor twice in a header|model.safetensors|header 's/layers.1.input_layernorm/layers.0.input_layernorm/'
2|1|dtype unknown|tensor "model.embed_tokens.weight": unknown dtype "BF17"|header 's/BF16/BF17/'
2|1|weights that are integers|tensor "model.embed_tokens.weight" has the type I16|header 's/BF16/I16/'
2|1|shape not a list|tensor "model.embed_tokens.weight": no "shape" list|header 's/\[160,64\]/160/'
2|1|shape negative|shape[0] is not a non-negative integer|header 's/\[160,64\]/[-160,64]/'
2|1|shape that overflows|overflows|header 's/\[160,64\]/[4611686018427387904,64]/'
2|1|offsets that end before they begin|data_offsets end before they begin|header 's/\[0,20480\]/[20480,0]/'
2|1|offsets too wide for the shape|data_offsets span 20482 bytes, dtype and shape need 20480|header 's/\[0,20480\]/[0,20482]/'
2|1|tensors that overlap|overlaps tensor "model.embed_tokens.weight"|header 's/\[20480,20608\]/[20478,20606]/'
2|1|hole between tensors|hole of 2 bytes before tensor|header 's/\[20480,20608\]/[20482,20610]/'
2|1 3|weights cut off|model.safetensors is truncated: 100 bytes of data are missing|truncate -s -100 m/model.safetensors
2|1|bytes behind the last tensor|bytes at its end belong to no tensor|printf xx >>m/model.safetensors
2|1|tensor missing|no weight file holds the tensor "model.norm.weight"|header 's/"model.norm.weight"/"model.norm2.weight"/'
2|1|shard missing|model-00002-of-00003.safetensors|sharded; rm m/model-00002-of-00003.safetensors
2|1 3|shard cut off|model-00002-of-00003.safetensors is truncated|sharded; truncate -s -8 m/model-00002-of-00003.safetensors
2|1|index names another shard|is not in model-00001-of-00003.safetensors|sharded; edit m/model.safetensors.index.json 's/\("model.norm.weight": "model-0000\)[23]/\11/'
2|1|index names a file elsewhere|not the plain name of a .safetensors file|sharded; edit m/model.safetensors.index.json 's/\("model.norm.weight": "\)/\1..\//'
2|1|index without a weight map|no "weight_map" object|sharded; edit m/model.safetensors.index.json 's/weight_map/weights/'
2|1|index is not JSON|model.safetensors.index.json|sharded; truncate -s 300 m/model.safetensors.index.json
2|1|index with a tensor twice|model.safetensors.index.json|sharded; edit m/model.safetensors.index.json 's/lm_head.weight/model.norm.weight/'
2|1 3|NaN in a weight|tensor "model.layers.1.mlp.up_proj.weight": NaN at row 2, column 3|poke model.layers.1.mlp.up_proj.weight $((2 * (2 * 64 + 3))) c07f
2|1|infinity in a weight|tensor "model.layers.2.self_attn.o_proj.weight": infinity at row 63, column 63|poke model.layers.2.self_attn.o_proj.weight $((2 * 4095)) 80ff
2|1|NaN in the embedding|tensor "model.embed_tokens.weight": NaN|poke model.embed_tokens.weight 0 c07f
2|1|NaN in a norm|tensor "model.norm.weight": NaN|poke model.norm.weight 126 c07f
# --- token ids
2|1 3|calibration file missing|c2.npy|line 7 'data = c2.npy'
2|1|text without a tokenizer|no tokenizer.json in this directory|echo hello >c.txt; line 7 'data = c.txt'
2|1|not a .npy file|c.npy: not a .npy file (no magic number)|echo 'not an array' >c.npy
2|1|empty .npy file|c.npy: the file ends too early|truncate -s 0 c.npy
2|1|.npy of an unknown version|c.npy: version 9 of the .npy format|bytes c.npy '\0011' 6
2|1|.npy header length absurd|c.npy|bytes c.npy '\0377\0377' 8
2|1|.npy header broken|c.npy: not a .npy header|bytes c.npy 'dtype' 12
2|1|.npy of floats|c.npy: items of type <f4|tokens '<f4' 8x32 160
2|1|.npy of big-endian ids|c.npy: items of type >i4|tokens '>i4' 8x32 160
2|1|.npy column by column|c.npy: the array is stored column by column|LC_ALL=C edit c.npy 's/False/True /'
2|1|.npy of three dimensions|c.npy: an array of 3 dimensions|tokens i4 2x4x32 160
2|1|.npy cut off|it is cut off, copy it again|truncate -s -4 c.npy
2|1|.npy with a tail|save one array per file|printf xxxx >>c.npy
2|1 3|token id beyond the vocabulary|c.npy: row 6, position 31: token id 160 lies outside the model's vocabulary of 160|tokens i4 8x32 160 223=160
2|1|negative token id|token id -1 lies outside|tokens i4 8x32 160 5=-1
2|1|too few calibration rows|c.npy holds 7 row(s) of 32 tokens|tokens i4 7x32 160
2|1|calibration text too short|c.npy holds 1 row(s) of 30 tokens|tokens i4 30 160; opt --set calibration.length=32
2|1|no tokens at all|c.npy holds 0 row(s)|tokens i4 0x32 160
2|1 3|evaluation file missing|e2.npy|line 15 'data = val:e2.npy'
2|1|evaluation text too short|evaluation set val: |forge npy e.npy u2 20 160
2|1|evaluation id beyond the vocabulary|e.npy: row 0, position 99: token id 65535 lies outside|forge npy e.npy u2 300 160 99=65535
2|1|HDF5 file that is none|c.h5|echo nothing >c.h5; line 7 'data = c.h5'
2|1|HDF5 dataset missing|nothing|cp ../stopped/checkpoint.h5 c.h5; line 7 'data = c.h5:/nothing'
2|1|HDF5 dataset of floats|does not hold integers|cp ../stopped/checkpoint.h5 c.h5; line 7 'data = c.h5:/calibration.fp'
# --- resources
3|1 3|output on a file system that is too small|are free on its file system|on_small_disk 64k output.path out
3|1|checkpoints on a file system that is too small|checkpoints need|on_small_disk 64k checkpoint.path cp
3|1|more memory than there is|available; use more nodes|wide
5|1|output folder cannot be written|cannot write to|only_root; earlier; nobody
5|1 3|output folder cannot be made|cannot write to|only_root; rm -rf out; nobody
5|1|checkpoint folder cannot be made|cannot write to|only_root; mkdir -p out locked; chmod a+rwX out; nobody; opt --set checkpoint.path=locked/cp
5|1|model that cannot be read|config.json|only_root; nobody; chmod 600 m/config.json
5|1|weights that cannot be read|cannot open|only_root; nobody; chmod 600 m/model.safetensors
# --- checkpoints
6|1 3|checkpoint of other settings|quantization.bits = 4|stopped; line 10 'bits = 3'
6|1|checkpoint of another model|belongs to another run|stopped; rm -r m; forge model m seed=2 hidden=128
6|1|checkpoint of other tokens|token ids|stopped; tokens i4 8x32 150
6|1|checkpoint damaged|wrong checksum|stopped; rm -f out/checkpoint.h5.prev; bytes out/checkpoint.h5 '\0001\0002\0003' $(($(wc -c <out/checkpoint.h5) - 3000))
6|1 3|checkpoint cut off|no usable checkpoint|stopped; rm -f out/checkpoint.h5.prev; truncate -s 3000 out/checkpoint.h5
6|1|checkpoint that is no HDF5|no usable checkpoint|stopped; rm -f out/checkpoint.h5.prev; echo x >out/checkpoint.h5
6|1 3|--restart yes without a checkpoint|--restart yes, but there is no checkpoint|rm -rf out; opt --restart yes
6|1|files of the stopped run missing|missing, cut short or belong to another run|stopped; rm out/model.safetensors.partial
# --- finished results, read back
2|1 3|--check of a missing folder|nowhere|command='--check nowhere'
2|1 3|--check of changed codes|tensor "model.layers.1.mlp.up_proj.qweight" was changed|checked; forge poke out/model.safetensors model.layers.1.mlp.up_proj.qweight 8 a5a5a5a5
2|1 3|--check of changed codes without checksums|digest|checked; rm out/qep_mpi.json; forge poke out/model.safetensors model.layers.1.mlp.up_proj.qweight 8 a5a5a5a5
2|1|--check of a changed scale|digest|checked; rm out/qep_mpi.json; forge poke out/model.safetensors model.layers.0.self_attn.q_proj.scales 0 0034
2|1|--check of a scale that is not positive|scale|checked; forge poke out/model.safetensors model.layers.0.self_attn.q_proj.scales 0 00bc
2|1|--check of a wrong group index|g_idx|checked; forge poke out/model.safetensors model.layers.2.mlp.down_proj.g_idx 0 63000000
2|1|--check of a file cut off|truncated|checked; truncate -s -2 out/model.safetensors
2|1|--check with other bits in config.json|model.layers.0|checked; edit out/config.json 's/"bits": 3/"bits": 4/'
TABLE
finish
