#!/bin/sh
# fuzz.sh [PARSER]: runs libFuzzer on every parser (FUZZ: on these), as many at a time as there are cores, FUZZ_SECONDS each, from tests/fuzz/corpus and what
# earlier runs found ($O/corpus). A finding ends with exit code 1 and lies in $O/findings; once it is mended it goes into tests/fuzz/corpus.
# SPDX-License-Identifier: Apache-2.0
set -u
O=${O:-build/fuzz}
export O
if [ $# = 0 ]; then
    echo "${FUZZ:-ini config safetensors index gguf npy tokenizer jsonl state}" | tr -s ' ' '\n' | xargs -r -n 1 -P "$(nproc)" sh "$0" || exit 1
    exit 0
fi
target=$1
mkdir -p "$O/corpus/$target" "$O/findings"
QEP_FUZZ=$target OMP_NUM_THREADS=1 ASAN_OPTIONS=allocator_may_return_null=1 "$O/tests/fuzz/fuzz" -max_total_time="${FUZZ_SECONDS:-600}" -rss_limit_mb=4096 \
    -timeout=20 -max_len=65536 -artifact_prefix="$O/findings/$target-" -print_final_stats=1 "$O/corpus/$target" "tests/fuzz/corpus/$target" >"$O/$target.log" 2>&1
code=$?
runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$O/$target.log")
if [ "$code" != 0 ]; then
    echo "$target: a finding after ${runs:-?} runs, see $O/$target.log and $O/findings:"
    grep -E 'ERROR|runtime error|Test unit written' "$O/$target.log" | head -n 5 | sed 's/^/    /'
    exit 1
fi
echo "$target: ${runs:-?} runs, no finding"
