#!/bin/sh
# The leak checker sees our leaks through the suppressions, and nothing else. O: build folder of BUILD=asan.
# SPDX-License-Identifier: Apache-2.0
set -u
leak=${O:-build/asan}/tests/asan/leak
failed=0
case_of() { # NUMBER NP WHAT WANT NAME
    out=$(tests/support/run_test.sh "$2" "$leak" "$3" 2>&1)
    code=$?
    got=clean
    if [ $code != 0 ]; then
        got=other
        case $out in *"detected memory leaks"*qep_mpi_buffer*) got=leak ;; esac
    fi
    if [ $got = "$4" ]; then echo "ok $1 - $5"; else
        echo "not ok $1 - $5"
        echo "# exit code $code: $out" | tail -n 20
        failed=1
    fi
}
case_of 1 1 none clean "one rank without a leak passes"
case_of 2 1 heap leak "one rank with a leak fails"
case_of 3 3 none clean "three ranks without a leak pass"
case_of 4 3 heap leak "three ranks with a leak fail"
echo "1..4"
exit $failed
