#!/bin/sh
# run_one.sh LABEL SCRIPT? NP LIMIT TEST: runs one test (SCRIPT? 1: a script, 0: a program on NP ranks) for at most LIMIT seconds, prints its line and
# leaves LABEL's log and "passed failed skipped" in $O/test-logs.
# A test says what it found in TAP ("ok 1 - name", "not ok 2 - name", "# SKIP" where it cannot run). A script without TAP counts as one
# test by its exit code, 77 meaning skipped. SPDX-License-Identifier: Apache-2.0
set -u
label=$1 script=$2 np=$3 limit=$4 test=$5
log=$O/test-logs/$(echo "$label" | tr '/ ' '__').log

# How the test ended: "passed failed skipped" from the TAP in its log and its exit code. Skips are counted, never taken for passes.
count() {
    awk -v code="$1" -v script="$script" '
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
        }' "$log"
}

# The part of a failed test's output that tells why.
why() {
    case $1 in
        0) ;;
        124 | 137) echo "     ended after $limit s without a result" ;;
        *) echo "     exit code $1" ;;
    esac
    grep -E '^(not ok|Bail out)' "$log" | head -n 10 | sed 's/^/     /'
    grep -v -E '^(not )?ok [0-9]' "$log" | tail -n 20 | sed 's/^/     | /'
    echo "     log: $log"
}

start=$(date +%s)
[ "$script" = 1 ] && set -- sh "$test" || set -- "$test"
QEP_TEST_TIMEOUT=$limit "$(dirname "$0")/run_test.sh" "$np" "$@" >"$log" 2>&1
code=$?
seconds=$(($(date +%s) - start))
count "$code" >"$log.count"
read -r passed failed skipped <"$log.count"
word=ok
[ "$passed" = 0 ] && word=skip
[ "$failed" = 0 ] || word=FAIL
line=$(
    printf '%-4s %-46s %4d passed' "$word" "$label" "$passed"
    [ "$failed" = 0 ] || printf ', %d failed' "$failed"
    [ "$skipped" = 0 ] || printf ', %d skipped' "$skipped"
    printf '  %d s' "$seconds"
    [ "$word" = FAIL ] && echo && why "$code"
)
printf '%s\n' "$line"
exit 0
