#!/bin/sh
# Runs libFuzzer on one parser after the other, FUZZ_SECONDS each, from tests/fuzz/corpus and what earlier runs found ($O/corpus). A finding ends with
# exit code 1 and lies in $O/findings; once it is mended it goes into tests/fuzz/corpus. SPDX-License-Identifier: Apache-2.0
set -u
O=${O:-build/fuzz}
fuzz=$O/tests/fuzz/fuzz
found=0
for target in ${FUZZ:-ini config safetensors index gguf npy tokenizer jsonl state}; do
    mkdir -p "$O/corpus/$target" "$O/findings"
    QEP_FUZZ=$target OMP_NUM_THREADS=1 ASAN_OPTIONS=allocator_may_return_null=1 "$fuzz" -max_total_time="${FUZZ_SECONDS:-600}" -rss_limit_mb=4096 \
        -timeout=20 -max_len=65536 -artifact_prefix="$O/findings/$target-" -print_final_stats=1 "$O/corpus/$target" "tests/fuzz/corpus/$target" >"$O/$target.log" 2>&1
    code=$?
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$O/$target.log")
    if [ "$code" = 0 ]; then
        echo "$target: ${runs:-?} runs, no finding"
    else
        found=$((found + 1))
        echo "$target: a finding after ${runs:-?} runs, see $O/$target.log and $O/findings:"
        grep -E 'ERROR|runtime error|Test unit written' "$O/$target.log" | head -n 5 | sed 's/^/    /'
    fi
done
[ "$found" = 0 ]
