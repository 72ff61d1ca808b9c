#!/bin/sh
# Choice tasks of wiki5m against the same rule on transformers, in f32: all of ARC-easy validation and PIQA dev, 500 passages of LAMBADA. Accuracies are equal,
# log-likelihoods agree within 1e-4 nats per token. Needs $QEP_SHARED and a Python environment (tests/support/venv.sh).
# SPDX-License-Identifier: Apache-2.0
. tests/run/lib.sh
LIMIT=${QEP_RUN_TIMEOUT:-1200}

shared=$(cd "${QEP_SHARED:-../shared}" 2>/dev/null && pwd) || shared=''
model=$shared/models/wiki5m data=$shared/data/tasks
if [ ! -d "$model" ] || [ ! -f "$data/piqa_dev.jsonl" ]; then
    skip 'tasks against transformers' "no model and tasks in ${QEP_SHARED:-../shared}"
    finish
fi
python=$(tests/support/venv.sh transformers torch==2.13.0 transformers tokenizers safetensors numpy) || {
    skip 'tasks against transformers' 'no Python environment'
    finish
}
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
# beside NAME FILE EXAMPLES
beside() {
    run 2 "$work/case.ini" --restart no --set evaluation.tasks="$1:$2" --set evaluation.task_examples="$3"
    check "$1: evaluated" [ "$code" = 0 ]
    "$python" tests/long/tasks.py "$model" "$work/out" 1e-4 "$1=$2" >"$work/log" 2>&1
    code=$?
    grep "^$1:" "$work/log" | sed 's/^/# /'
    check "$1: as transformers has it" [ "$code" = 0 ]
}
beside arc "$arc" all
beside piqa "$piqa" all
beside lambada "$lambada" 500
finish
