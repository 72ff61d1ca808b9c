#!/bin/sh
# Memory that cannot be had: every named allocation of a run fails once, on one rank, in turn. The job ends with exit code 3 and a message that names it,
# no rank hangs, and an earlier result stays as it was; behind publishing the new model is there in full. QEP_LONG=1: the second and the last-but-one call of each as well, and more methods.
# SPDX-License-Identifier: Apache-2.0
. tests/run/lib.sh
LIMIT=30

here=$PWD
forge model "$work/m" blocks=1 shards=2
forge npy "$work/c.npy" i4 8x32 160
forge npy "$work/e.npy" u2 300 160
cd "$work" || exit 1
echo '{"made": "for tests"}' >m/tokenizer.json
cat >case.ini <<'INI'
[model]
path = m
[output]
path = out
overwrite = yes
[calibration]
data = c.npy
samples = 4
validation = 2
[quantization]
group_size = 32
[evaluation]
data = val:e.npy
INI

run 1 case.ini --set quantization.bits=3
[ "$code" = 0 ] || bail_out "the earlier run ended with $code"
result() { tree out 'qep_mpi.log' 'qep_mpi.lock' '*.partial' '*.tmp' 'checkpoint*'; }
result >before
cp -r out earlier

# The earlier result is there as it was; behind publishing the new model is, in full.
kept_or_new() {
    result | cmp -s before - && return
    run 1 --check out
    new=$code
    rm -rf out
    cp -r earlier out
    [ "$new" = 0 ]
}

# one NAME CALL OPTION...
tried=0 failed=0 wrong=0
one() {
    name=$1 call=$2
    shift 2
    tried=$((tried + 1))
    np=1 on=0
    [ $((tried % 8)) = 0 ] && np=3 on=$((tried / 8 % 3)) # mostly one rank: it starts faster
    rm -f out/*.partial out/checkpoint*
    export QEP_FAULT="alloc.$name:$call@$on"
    run "$np" case.ini "$@"
    unset QEP_FAULT
    if [ "$code" = 0 ]; then # no such call in this run
        rm -rf out
        cp -r earlier out
        return
    fi
    failed=$((failed + 1))
    if hung "$code"; then echo 'it hangs'
    elif [ "$code" != 3 ]; then echo "exit code $code"
    elif ! said "out of memory: $name needs"; then echo "no message with 'out of memory: $name needs'"
    elif ! kept_or_new; then echo 'the earlier result was changed, and it is not the new one'
    else return; fi >verdict
    wrong=$((wrong + 1))
    not_ok "$name, call $call, rank $on of $np: $(cat verdict)"
}

# names OPTION...: what a run like this allocates, without the shared windows (par.window in test_faults.sh)
names() {
    run 1 case.ini --set output.path=good --set run.log_level=debug "$@"
    [ "$code" = 0 ] || bail_out "the undisturbed run ended with $code"
    sed -n 's/.*memory: *\([a-z0-9_.]*\) .* at most$/\1/p' log | grep -vxF "$windows" >names
    rm -rf good
}
windows=$(cd "$here" && grep -rhoE 'qep_window_create_all\([^"]*"[^"]*"' src | sed 's/.*"\(.*\)"/\1/')

sweep() { # sweep TEXT OPTION...
    what=$1
    shift
    names "$@"
    tried=0 failed=0 wrong=0
    while read -r n; do
        one "$n" 1 "$@"
        [ "${QEP_LONG:-0}" = 1 ] && one "$n" 2 "$@" && one "$n" 5 "$@"
    done <names
    check "$what: $failed allocations failed, of $(wc -l <names) names, each by itself" [ "$wrong" = 0 ]
    check "$what: that is nearly all of them" [ $((failed * 10)) -gt $(($(wc -l <names) * 9)) ]
}

sweep 'the defaults'
if [ "${QEP_LONG:-0}" = 1 ]; then
    sweep awq --set quantization.method=awq
    sweep quip --set quantization.method=quip --set quantization.group_size=-1 --set output.format=dense
    sweep rescomp --set quantization.method=rescomp --set correction.method=none
fi
run 2 case.ini
check 'then the same command gives a result' [ "$code" = 0 ]
run 1 --check out
check '... which is sound' [ "$code" = 0 ]
finish
