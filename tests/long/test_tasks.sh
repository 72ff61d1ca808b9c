#!/bin/sh
# Choice tasks of wiki5m against the same rule on transformers, in f32: all of ARC-easy validation and PIQA dev, 500 passages of LAMBADA, stories in
# StoryCloze's format made from TinyStories; and of wiki5m in 3 bits, whose dense output transformers reads. Accuracies are equal, log-likelihoods agree within
# 1e-4 nats per token. Needs $QEP_SHARED and a Python environment (tests/support/venv.sh).
# SPDX-License-Identifier: Apache-2.0
. tests/run/lib.sh
LIMIT=${QEP_RUN_TIMEOUT:-1200}

model=$shared/models/wiki5m data=$shared/data/tasks
tales=$shared/data/text/tinystories/tinystories_val.txt
if [ ! -d "$model" ] || [ ! -f "$data/piqa_dev.jsonl" ] || [ ! -f "$tales" ]; then
    skip 'tasks against transformers' "no model, tasks and texts in $shared"
    finish
fi
python=$(tests/support/venv.sh transformers torch==2.13.0 transformers tokenizers safetensors numpy) || {
    skip 'tasks against transformers' 'no Python environment'
    finish
}
"$python" tests/long/tasks.py stories "$tales" "$work/stories.jsonl" || bail_out 'tasks.py stories'
arc=$data/arc_easy_validation.jsonl piqa=$data/piqa_dev.jsonl lambada=$data/lambada_test.jsonl
cat >"$work/case.ini" <<INI
[model]
path = $model
[output]
path = out
overwrite = yes
[quantization]
method = none
[run]
compute = f32
INI
# beside NAME FILE EXAMPLES [OPTION...]
bos=auto
beside() {
    name=$1 file=$2 examples=$3
    shift 3
    run 2 "$work/case.ini" --restart no --set evaluation.tasks="$name:$file" --set evaluation.task_examples="$examples" --set evaluation.tasks_bos=$bos "$@"
    check "$name: evaluated" [ "$code" = 0 ]
    as_transformers "$model" original "$name=$file"
}
# as_transformers MODEL STREAM NAME=FILE...
as_transformers() {
    m=$1 stream=$2
    shift 2
    "$python" tests/long/tasks.py "$m" "$work/out" 1e-4 "$stream" $bos "$@" >"$work/log" 2>&1
    code=$?
    grep '^[a-z]*:' "$work/log" | sed 's/^/# /'
    check "$stream,$(for t in "$@"; do printf ' %s' "${t%%=*}"; done): as transformers has it" [ "$code" = 0 ]
}
beside arc "$arc" all
beside piqa "$piqa" all
beside lambada "$lambada" 500
beside stories "$work/stories.jsonl" all

# BOS in front: by a template, in each way, and by the program
bos=yes
beside lambada "$lambada" 100
cp -r "$model" "$work/b" && chmod -R u+w "$work/b"
"$python" - "$work/b/tokenizer.json" <<'PY'
import json, sys
t = json.load(open(sys.argv[1]))
bos = "<|endoftext|>"
t["post_processor"]["single"].insert(0, {"SpecialToken": {"id": bos, "type_id": 0}})
t["post_processor"]["special_tokens"] = {bos: {"id": bos, "ids": [0], "tokens": [bos]}}
json.dump(t, open(sys.argv[1], "w"))
PY
model=$work/b
for bos in auto yes no; do
    beside piqa "$piqa" 100 --set model.path="$model"
    beside lambada "$lambada" 100 --set model.path="$model"
done
model=$shared/models/wiki5m bos=auto

# the quantized stream, on the dense output
run 2 "$work/case.ini" --restart no --set quantization.method=gptq --set quantization.bits=3 --set output.format=dense --set calibration.samples=16 \
    --set calibration.length=256 --set calibration.data="$shared/data/text/wikitext2/valid.txt" --set evaluation.task_examples=200 \
    --set evaluation.tasks="arc:$arc, piqa:$piqa, lambada:$lambada, stories:$work/stories.jsonl"
check 'quantized: evaluated' [ "$code" = 0 ]
as_transformers "$work/out" quantized arc="$arc" piqa="$piqa" lambada="$lambada" stories="$work/stories.jsonl"
as_transformers "$model" original arc="$arc" stories="$work/stories.jsonl"
finish
