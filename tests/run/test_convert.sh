#!/bin/sh
# --convert: chains of formats keep the digest, on any number of ranks; what a format cannot hold is refused with the reason; nothing is
# left behind. SPDX-License-Identifier: Apache-2.0
. tests/run/lib.sh

forge model "$work/m" blocks=2 hidden=64 inter=96 heads=2 kv=1 head_dim=32 bias=1
forge npy "$work/c.npy" i4 8x32 160
forge npy "$work/e.npy" u2 300 160
cd "$work" || exit 1
echo '{"made": "for tests"}' >m/special_tokens_map.json
echo 'text' >m/LICENSE
cat >case.ini <<'INI'
[model]
path = m
[output]
path = ${OUT}
[calibration]
data = c.npy
samples = 8
[quantization]
group_size = 32
[evaluation]
data = val:e.npy
INI

# quantize NAME SETTING...
quantize() {
    export OUT="$1"
    shift
    settings=
    for s in "$@"; do settings="$settings --set $s"; done
    # shellcheck disable=SC2086 # a list
    run 2 case.ini $settings
    [ "$code" = 0 ] || bail_out "$OUT: quantizing ended with $code"
}

# to NP FROM FORMAT TO: converts; the digest stays
to() {
    run "$1" --convert "$2" --format "$3" --output "$4"
    check "$2 -> $3 on $1 ranks: exit code 0" [ "$code" = 0 ]
    check "... the same digest" [ "$(digest "$4")" = "$(digest "$2")" ]
    check "... nothing is left behind" no_leftovers "$4"
}

# same A B: the tensors and small files of two directories are the same bytes; biases aside, which some formats keep as F16
sums() { grep '^    "' "$1/qep_mpi.json" | grep -v bias | tr -d , | sort; }
same() {
    sums "$1" >a.sums
    sums "$2" >b.sums
    check "$1 and $2 hold the same tensors" cmp -s a.sums b.sums
    check "... some" [ "$(wc -l <a.sums)" -gt 40 ]
}

# --- 4 bits, symmetric: all formats, and around ---------------------------------------------------
quantize four quantization.symmetric=yes
to 2 four gptq_v2 v2
to 3 v2 compressed-tensors ct
to 4 ct awq awq
to 1 awq gptq round
check 'it is said who loads it' said 'transformers + GPTQModel loads it'
check '... who does not, and why' said 'vLLM does not load it because of the shape of model.layers.0.mlp.gate_proj'
check '... and how it can be split' said 'tensor parallel on 1 ranks of a serving engine; not on 2: model.layers.0.mlp.down_proj has 96 columns'
same four round
run 2 --check round
check 'the result of the chain is sound' [ "$code" = 0 ]
check '... with the perplexity of the run' said "val: perplexity from the files $(printf %.6f "$(json four/summary.json evaluation.val.perplexity_quantized)")"
run 1 --check ct
check 'compressed-tensors: the same perplexity' said "val: perplexity from the files $(printf %.6f "$(json four/summary.json evaluation.val.perplexity_quantized)")"
check '... and no strange tensors' sh -c "! grep -q 'are not part' '$work/log'"
mv ct/LICENSE away.txt
run 2 --check ct
check 'a small file that is gone: exit code 2' [ "$code" = 2 ]
check '... it is named' said 'ct/LICENSE is missing'
sed 's/./x/' away.txt >ct/LICENSE
run 1 --check ct
check 'a small file that was changed: exit code 2' [ "$code" = 2 ]
check '... it is named' said 'ct/LICENSE was changed or damaged'
mv away.txt ct/LICENSE
mv e.npy away.npy
run 1 --check awq
check 'without the evaluation data: sound all the same' [ "$code" = 0 ]
check '... and it is said' said 'is not there any more; perplexity is not evaluated'
mv away.npy e.npy
for f in special_tokens_map.json LICENSE qep_mpi.ini modules.csv qep_mpi.json; do check "$f comes along" [ -s "round/$f" ]; done
check 'summary.json says where it comes from' [ "$(json round/summary.json converted_from.format)" = awq ]
to 2 four compressed-tensors ct2
check 'the same file by another way' cmp -s ct/model.safetensors ct2/model.safetensors
export OUT=direct
run 2 case.ini --set quantization.symmetric=yes --set output.format=compressed-tensors
same direct ct

# --- other widths, one group per row, zero points at the edge --------------------------------------
for bits in 2 3 8; do
    quantize "b$bits" "quantization.bits=$bits" output.format=compressed-tensors quantization.group_size=-1
    to 3 "b$bits" gptq_v2 "b$bits-v2"
    to 2 "b$bits-v2" compressed-tensors "b$bits-ct"
    same "b$bits" "b$bits-ct"
done
to 2 b2 dense b2-dense
run 2 --check b2-dense
check 'dense: sound' [ "$code" = 0 ]

# --- gguf: out, and back where codes and zero points are in the file ------------------------------------
to 2 four gguf four-gguf
to 3 four-gguf gptq_v2 four-back
sums four >a.sums
sums four-back >b.sums
grep -E 'qweight|scales|g_idx' a.sums >a.some
grep -E 'qweight|scales|g_idx' b.sums >b.some
check '... codes and scales are the same bytes' cmp -s a.some b.some
run 2 --check four-gguf
check '... the digest of the GGUF file is compared' said "digest $(digest four) as in summary.json"
check '... with the perplexity of the run' said "val: perplexity from the files $(printf %.6f "$(json four/summary.json evaluation.val.perplexity_quantized)")"
# --- around through every format that holds codes and zero points ------------------------------------------
around() { # around NAME FORMAT...: and back to the format it has
    from=$1 at=$1 np=1
    shift
    for f; do
        to $np "$at" "$f" "$from-$f-$np"
        at=$from-$f-$np np=$((np % 3 + 1))
    done
    for d in "$from" "$at"; do sums "$d" | grep -E 'qweight|qzeros|scales|g_idx'; done | sort | uniq -c >packed # gguf has its vectors in F32
    check "$from and $at hold the same packed tensors" awk '$1 != 2 { bad = 1 } END { exit bad || NR < 25 }' packed
}
forge model "$work/wide" blocks=1 hidden=256 inter=512 heads=2 kv=2 head_dim=128 dtype=F32
around four compressed-tensors awq gguf gptq_v2 compressed-tensors gptq
wide='model.path=wide quantization.symmetric=no quantization.group_size=-1'
# shellcheck disable=SC2086 # a list
quantize wide4 $wide
around wide4 compressed-tensors awq gguf gptq_v2 gptq
# shellcheck disable=SC2086
quantize wide2 $wide quantization.bits=2
around wide2 compressed-tensors gguf gptq_v2 gptq
# shellcheck disable=SC2086
quantize wide3 $wide quantization.bits=3 quantization.symmetric=yes
around wide3 gguf compressed-tensors gptq_v2 gptq

# mixtures of experts: in a GGUF file the experts of a layer are one tensor for each part
forge model "$work/mix" family=mixtral blocks=2 hidden=64 inter=96 heads=2 kv=1 head_dim=32 experts=5 top_k=2
quantize mixed model.path=mix quantization.symmetric=yes
around mixed gguf compressed-tensors gptq_v2 gptq
run 3 --convert mixed --format gguf --output mixed-gguf
check 'another number of ranks: the same file' sh -c "cmp -s mixed-gguf/model.gguf mixed-gguf-1/model.gguf"
run 1 --check mixed-gguf
check '... with the digest' said "digest $(digest mixed) as in summary.json"
check '... with the perplexity of the run' said "val: perplexity from the files $(printf %.6f "$(json mixed/summary.json evaluation.val.perplexity_quantized)")"
export OUT=mixed-direct
run 2 case.ini --set model.path=mix --set quantization.symmetric=yes --set output.format=gguf
check 'the run itself writes such a file' [ "$code" = 0 ]
check '... with the digest' [ "$(digest mixed-direct)" = "$(digest mixed)" ]

run 3 --convert b3 --format gguf --output b3-gguf
check 'b3 -> gguf on 3 ranks: exit code 0' [ "$code" = 0 ]
check '... codes held exactly' said '14 linears as Q4_0, codes held exactly'
check '... nothing is left behind' no_leftovers b3-gguf
run 1 --convert b3 --format gguf --output b3-gguf1
check '... the same file from one rank' cmp -s b3-gguf/model.gguf b3-gguf1/model.gguf
run 2 --check b3-gguf
check '... sound' [ "$code" = 0 ]
check '... with the perplexity of the run' said "val: perplexity from the files $(printf %.6f "$(json b3/summary.json evaluation.val.perplexity_quantized)")"
check '... why there is no digest' said 'keeps code - zero alone'
run 1 --convert b8 --format gguf --output b8-gguf
check 'b8: rounded, and it is said' said 'the largest difference is'

# --- refusals ------------------------------------------------------------------------------------------
# refused TEXT ARG...
refused() {
    why=$1
    shift
    run 2 "$@"
    check "$*: exit code 1" [ "$code" = 1 ]
    check "... and says why" said "$why"
}
refused 'holds 4 bits only' --convert b3 --format awq --output no
forge poke b2-v2/model.safetensors model.layers.1.mlp.up_proj.qzeros 3 00
rm b2-v2/summary.json b2-v2/qep_mpi.json # which would tell that it was changed
refused 'up_proj has a zero point 0' --convert b2-v2 --format gptq --output no
refused 'no packed codes' --convert b2-dense --format gptq --output no
refused 'there is no such format' --convert four --format exl2 --output no
refused 'convert the output that it came from' --convert b3-gguf --format gptq_v2 --output no
refused 'exists' --convert four --format gptq_v2 --output v2
refused "model's own directory" --convert four --format gptq_v2 --output four
refused 'into which format' --convert four
refused 'belong to --convert' case.ini --format awq
forge model "$work/plain" family=qwen3_moe blocks=2 hidden=64 heads=2 kv=1 head_dim=32 experts=4 top_k=2
quantize qwen model.path=plain quantization.symmetric=yes
refused 'blocks without experts' --convert qwen --format gguf --output no
edit qwen/config.json 's/"norm_topk_prob": *true/"norm_topk_prob": false/'
refused 'norm_topk_prob = false' --convert qwen --format gguf --output no
printf '[override one]\nmatch = *.layers.1.*.experts.3.w1\nbits = 8\n' | cat case.ini - >one.ini
export OUT=no
refused 'experts.0.w1 and model.layers.1.block_sparse_moe.experts.3.w1 have different bits' one.ini --set model.path=mix --set output.format=gguf --dry-run
printf '[override one]\nmatch = *.layers.1.*.experts.*\nmethod = none\n' | cat case.ini - >one.ini
refused 'is not quantized, and the experts of a layer are one tensor there' one.ini --set model.path=mix --set output.format=gguf --dry-run
quantize act quantization.act_order=yes quantization.static_groups=no
refused 'act_order' --convert act --format compressed-tensors --output no
to 2 act gptq_v2 act-v2
check 'nothing was written' [ ! -e no ]
run 2 --convert nowhere --format awq
check 'no such directory: exit code 2' [ "$code" = 2 ]

# --- an output that is there: as a run has it --------------------------------------------------------
refused 'only output.overwrite and output.shard_size' --convert four --format awq --output v2 --set output.format=awq
run 2 --convert four --format awq --output v2 --set output.overwrite=yes
check 'overwrite: exit code 0' [ "$code" = 0 ]
check '... it is the other format now' [ "$(json v2/config.json quantization_config.quant_method)" = awq ]
check '... with the digest' [ "$(digest v2)" = "$(digest four)" ]
check '... nothing of the former one is left' no_leftovers v2
run 1 --convert four --format gptq_v2 --output v2 --set output.overwrite=yes --set output.shard_size=20K
check 'shards of another size' [ "$code" = 0 ]
check '... with their index' [ -s v2/model.safetensors.index.json ]
run 1 --convert four --format gptq_v2 --output v2 --set output.overwrite=yes
# a run is at work in the directory: its lock is waited for, for five seconds, and then it is refused, or what the run has finished is there
at_work() { # at_work DIRECTORY SECONDS: after each block
    QEP_TEST_BLOCK_SLEEP=$2 timeout -k 5 "$LIMIT" "$QEP_MPI" case.ini --set output.path="$1" --set quantization.symmetric=yes >"$1.log" 2>&1 </dev/null &
    holder=$! background="$background $!"
    wait_until "[ -e $1/qep_mpi.lock ]" || bail_out 'the run did not begin'
}
at_work held 30
refused 'another job is working on' --convert four --format awq --output held --set output.overwrite=yes
check '... while the run goes on' kill -0 $holder
kill $holder
end_of $holder
at_work finished 0.7
refused 'exists' --convert four --format awq --output finished
end_of $holder
check 'the run goes to its end' [ "$code" = 0 ]
check '... with its own result' [ "$(digest finished) $(json finished/config.json quantization_config.quant_method)" = "$(digest four) gptq" ]

# --- damage of the source is found first --------------------------------------------------------------
forge poke v2/model.safetensors model.norm.weight 10 0000
run 2 --convert v2 --format awq --output no
check 'a damaged source: exit code 2' [ "$code" = 2 ]
check '... and the tensor is named' said 'model.norm.weight'
finish
