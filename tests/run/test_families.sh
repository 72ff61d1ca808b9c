#!/bin/sh
# Quantized runs of every family: the same result on 1, 2 and 3 ranks, read back without a fault, and with the correction the two streams end
# closer together than without. Small random models made here; with QEP_LONG=1 also the golden models beside the repository (QEP_SHARED).
# SPDX-License-Identifier: Apache-2.0
. tests/run/lib.sh
LIMIT=120

forge npy "$work/tokens.npy" i4 24x40 160
cd "$work" || exit 1
cat >run.ini <<'INI'
[output]
path = out
overwrite = yes
[calibration]
data = tokens.npy
samples = 16
length = 40
validation = 0
[quantization]
bits = 4
group_size = 16
[evaluation]
data = rest:tokens.npy
tokens = 160
[run]
compute = f32
INI

digest() { json out/summary.json | grep '^digest '; }
# distance of the streams after the last block
growth() { json out/summary.json | grep '^error_growth.calibration.' | tail -n 1 | cut -d' ' -f2; }

# one NAME MODEL OPTIONS...: the checks of one model
one() {
    name=$1 model=$2
    shift 2
    for np in 1 2 3; do
        run "$np" run.ini --set model.path="$model" --restart no "$@"
        if [ "$code" != 0 ]; then
            not_ok "$name on $np ranks: exit code $code"
            return
        fi
        digest >"digest.$np"
        if ! cmp -s digest.1 "digest.$np"; then
            not_ok "$name: another digest on $np ranks"
            return
        fi
    done
    corrected=$(growth)
    "$QEP_MPI" --check out >log 2>&1 || { not_ok "$name: --check"; return; }
    run 1 run.ini --set model.path="$model" --restart no --set correction.method=none "$@"
    plain=$(growth)
    echo "# $name: streams apart by $corrected of their size with the correction, $plain without" >>log
    check "$name: one digest on 1, 2 and 3 ranks, read back; the correction brings the streams closer ($plain -> $corrected)" \
        awk "BEGIN { exit !($corrected > 0 && $corrected < $plain) }"
}

for f in llama mistral qwen2 qwen3 phi3 gemma2 gemma3_text olmo2 mixtral qwen3_moe; do
    forge model "$f" family="$f" blocks=2 inter=128 dtype=F32 seed=3
    one "$f" "$f"
done

# Rotary embeddings: which it is, and whether the length matters. phi3's are longrope from 24 tokens on.
run 1 run.ini --set model.path=phi3 --dry-run
check "the plan says at which lengths longrope is taken" grep -q 'rotary embedding: longrope, .* \([0-9]*\) of \1 sequences are longer than 24 and get the long factors' log
f=qwen3_moe
run 1 run.ini --set model.path="$f" --dry-run
check "and that the default does not depend on length" grep -q 'rotary embedding: default, .*the same for sequences of any length' log

for dir in "$shared"/golden/families/*/; do
    f=$(basename "$dir")
    if [ -z "${QEP_LONG:-}" ] || [ ! -d "$dir" ]; then
        skip "golden models" "needs QEP_LONG=1 and QEP_SHARED"
        break
    fi
    one "golden $f" "$dir" --set output.format=dense # rows that gptq's words of 32 do not divide
done
finish
