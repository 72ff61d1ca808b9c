#!/bin/sh
# The windows that each selection takes from text, against Python's own random module and the tokenizers library: the same token ids,
# for several seeds, lengths and numbers of ranks. Needs $QEP_SHARED (the model wiki5m and texts) and a Python environment
# (tests/support/venv.sh). SPDX-License-Identifier: Apache-2.0
. tests/run/lib.sh

model=$shared/models/wiki5m book=$shared/data/text/wikitext2/valid.txt
if [ ! -d "$model" ] || [ ! -f "$book" ]; then
    skip 'windows as Python draws them' "no model and text in $shared"
    finish
fi
python=$(tests/support/venv.sh tokenizers tokenizers) || {
    skip 'windows as Python draws them' 'no Python environment'
    finish
}
script=$PWD/tests/long/windows.py
cd "$work" || exit 1
"$python" "$script" "$model" documents "$book" docs.jsonl 4000 || bail_out 'windows.py documents'

# ids NP FILE SELECTION SAMPLES LENGTH SEED: the hash of the ids a dry run takes: $ids
ids() {
    printf 'model.path = %s\noutput.path = out\ncalibration.data = %s\n' "$model" "$2" >case.ini
    run "$1" case.ini --dry-run --set calibration.validation=0 --set calibration.selection="$3" --set calibration.samples="$4" \
        --set calibration.length="$5" --set calibration.seed="$6"
    ids=$(sed -n 's/.*token ids \([0-9a-f]*\);.*/\1/p' "$work/log")
}

while read -r rule file selection samples length seed; do
    [ "$file" = text ] && file=$book
    "$python" "$script" "$model" "$rule" "$file" want.npy "$samples" "$length" "$seed" || bail_out "windows.py $rule"
    ids 1 want.npy sequential "$samples" "$length" 0
    want=$ids
    for np in 1 3; do
        ids $np "$file" "$selection" "$samples" "$length" "$seed"
        check "$rule, $samples windows of $length, seed $seed, $np ranks: the ids that Python takes" [ "$want" = "$ids" -a ${#ids} = 32 ]
    done
done <<'ROWS'
c4 docs.jsonl random 128 512 0
c4 docs.jsonl random 40 900 1
c4 docs.jsonl random 17 64 12345678901
c4-new docs.jsonl random-new 128 512 0
c4-new docs.jsonl random-new 40 900 1
wikitext2 text random 128 2048 0
wikitext2 text random 33 100 7
wikitext2 text random-new 33 100 7
sequential docs.jsonl sequential 60 512 0
packed docs.jsonl packed 64 2048 0
packed docs.jsonl packed 9 77 0
ROWS
finish
