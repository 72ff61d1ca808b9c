#!/bin/sh
# run_all.sh KIND TEST... [KIND TEST...]: runs tests, LANES at a time, a line each when it has ended, and ends with the line
# "N passed, N failed, N skipped"; exit 1 when a test failed or none ran.
# KIND: unit (one process), mpi (once for each number of ranks in NPS), run, lint and long (scripts).
# O: build folder, for the logs. QEP_TEST_TIMEOUT, QEP_SCRIPT_TIMEOUT: seconds for one test or script. LANES: by default half the cores, at
# least 2 where there are 2 cores: most tests wait for their ranks to start and end. SPDX-License-Identifier: Apache-2.0
set -u
O=${O:-build/release}
NPS=${NPS:-1 2 3 4}
export O
logs=$O/test-logs
cores=$(nproc 2>/dev/null || echo 2)
lanes=$((cores > 4 ? cores / 2 : cores > 1 ? 2 : 1))

rm -rf "$logs"
mkdir -p "$logs" || exit 1
kind=''
for test in "$@"; do
    case $test in
        unit | mpi | run | lint | long)
            kind=$test
            continue
            ;;
    esac
    name=${test#"$O"/tests/}
    name=${name#tests/}
    case $kind in
        unit) printf '%s\n' "$name" 0 1 "${QEP_TEST_TIMEOUT:-120}" "$test" ;;
        mpi) for np in $NPS; do printf '%s\n' "$name np=$np" 0 "$np" "${QEP_TEST_TIMEOUT:-120}" "$test"; done ;;
        *) printf '%s\n' "$name" 1 1 "${QEP_SCRIPT_TIMEOUT:-600}" "$test" ;;
    esac
done | tr '\n' '\0' | xargs -0 -r -n 5 -P "${LANES:-$lanes}" "$(dirname "$0")/run_one.sh"
cat "$logs"/*.count 2>/dev/null | awk '
    { passed += $1; failed += $2; skipped += $3 }
    END {
        printf "%d passed, %d failed, %d skipped\n", passed, failed, skipped
        exit failed > 0 || passed + skipped == 0
    }'
