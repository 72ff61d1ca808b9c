#!/bin/sh
# run_all.sh KIND TEST... [KIND TEST...]: runs tests one after the other, a line each, and ends with the line
# "N passed, N failed, N skipped"; exit 1 when a test failed or none ran.
# KIND: unit (one process), mpi (once for each number of ranks in NPS), run, lint and long (scripts).
# A test says what it found in TAP ("ok 1 - name", "not ok 2 - name", "# SKIP" where it cannot run). A script without TAP counts as one
# test by its exit code, 77 meaning skipped. O: build folder, for the logs. QEP_TEST_TIMEOUT, QEP_SCRIPT_TIMEOUT: seconds for one
# test or script. SPDX-License-Identifier: Apache-2.0
set -u
O=${O:-build/release}
NPS=${NPS:-1 2 3 4}
logs=$O/test-logs
here=$(dirname "$0")
passed=0 failed=0 skipped=0

# How TEST ended: "passed failed skipped" from its TAP in LOG and its exit code CODE. Skips are counted, never taken for passes.
# SCRIPT=1: may do without TAP.
count() {
    awk -v code="$1" -v script="$2" '
        /^not ok .*# *SKIP/ || /^ok .*# *SKIP/ { skip++; next }
        /^ok [0-9]+/ { pass++; next }
        /^not ok [0-9]+/ { fail++; next }
        /^1\.\.[0-9]+/ { plan += substr($1, 4) }
        END {
            seen = pass + fail + skip
            if (script && !seen && plan == 0) {
                if (code == 0) pass = 1; else if (code == 77) skip = 1; else fail = 1
            } else if ((code != 0 && !fail) || seen == 0 || (plan && seen < plan)) {
                fail++ # crashed, ran out of time, or left out tests
            }
            printf "%d %d %d\n", pass, fail, skip
        }' "$3"
}

# one LABEL SCRIPT? NP LIMIT COMMAND...
one() {
    label=$1 script=$2 np=$3 limit=$4
    shift 4
    log=$logs/$(echo "$label" | tr '/ ' '__').log
    start=$(date +%s)
    QEP_TEST_TIMEOUT=$limit "$here/run_test.sh" "$np" "$@" >"$log" 2>&1
    code=$?
    counts=$(count "$code" "$script" "$log")
    # shellcheck disable=SC2086 # three numbers
    set -- $counts
    passed=$((passed + $1)) failed=$((failed + $2)) skipped=$((skipped + $3))
    word=ok
    [ "$1" = 0 ] && word=skip
    [ "$2" = 0 ] || word=FAIL
    printf '%-4s %-46s %4d passed' "$word" "$label" "$1"
    [ "$2" = 0 ] || printf ', %d failed' "$2"
    [ "$3" = 0 ] || printf ', %d skipped' "$3"
    printf '  %d s\n' $(($(date +%s) - start))
    [ "$word" = FAIL ] && why "$code" "$limit" "$log"
    return 0
}

# The part of a failed test's output that tells why.
why() {
    case $1 in
        0) ;;
        124 | 137) echo "     ended after $2 s without a result" ;;
        *) echo "     exit code $1" ;;
    esac
    grep -E '^(not ok|Bail out)' "$3" | head -n 10 | sed 's/^/     /'
    grep -v -E '^(not )?ok [0-9]' "$3" | tail -n 20 | sed 's/^/     | /'
    echo "     log: $3"
}

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
        unit) one "$name" 0 1 "${QEP_TEST_TIMEOUT:-120}" "$test" ;;
        mpi) for np in $NPS; do one "$name np=$np" 0 "$np" "${QEP_TEST_TIMEOUT:-120}" "$test"; done ;;
        *) one "$name" 1 1 "${QEP_SCRIPT_TIMEOUT:-600}" sh "$test" ;;
    esac
done
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ] && [ "$((passed + skipped))" != 0 ]
