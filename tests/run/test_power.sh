#!/bin/sh
# Power failures: in front of every fsync, rename, link and unlink of a run the process dies, and the output folder is set back to what a disk
# must hold then: each file as of its last fsync (nothing, where it never was synced), under the names as of the directory's last fsync, or
# under all the names of that moment. The same command again gives the undisturbed result; a checkpoint that was sealed counts. Then the
# clock jumps by days. Some events; all with QEP_LONG=1. SPDX-License-Identifier: Apache-2.0
. tests/run/lib.sh

shadow=$work/libshadow.so
${CC:-cc} -shared -fPIC -O1 -o "$shadow" tests/run/tools/shadow.c -ldl || bail_out 'tests/run/tools/shadow.c does not compile'
forge model "$work/m" blocks=2 shards=2
forge npy "$work/c.npy" i4 8x32 160
cd "$work" || exit 1
echo '{"made": "for tests"}' >m/tokenizer.json
printf '[model]\npath = m\n[output]\npath = out\nshard_size = 60K\noverwrite = yes\n[calibration]\ndata = c.npy\nsamples = 8\n[quantization]\ngroup_size = 32\n' >case.ini

run 1 case.ini --set output.path=good
[ "$code" = 0 ] || bail_out "the undisturbed run ended with $code"
good=$(digest good)
run 1 case.ini --set output.path=earlier --set quantization.bits=3
[ "$code" = 0 ] || bail_out "the earlier run ended with $code"

# until_event EVENT: a run that dies in front of it, with its record in shadow/
until_event() {
    rm -rf shadow
    mkdir -p shadow/data shadow/names
    : >shadow/events
    LD_PRELOAD=$shadow QEP_SHADOW=$work/shadow QEP_SHADOW_OF=$work/out QEP_CRASH_AT=$1 timeout -k 5 "$LIMIT" "$QEP_MPI" case.ini >log 2>&1 </dev/null
    code=$?
}

# What of the folder is on the disk whatever the system had in its memory; names: as of the last fsync of the directory ("synced") or of now.
set_back() {
    if [ "$1" = synced ]; then names=$(cat shadow/names/*+out 2>/dev/null || echo "$before"); else names=$(cd out && find . -maxdepth 1 -type f -printf '%f %i\n'); fi
    mkdir disk
    echo "$names" | while read -r name inode; do
        [ -n "$name" ] || continue
        if [ -f "shadow/data/$inode" ]; then cp "shadow/data/$inode" "disk/$name"; else : >"disk/$name"; fi
    done
    # files that were there before the run and have not been touched are whole
    for f in earlier/*; do
        name=${f#earlier/}
        [ "$begin" = earlier ] && [ -e "disk/$name" ] && ! [ -s "disk/$name" ] && [ "$(stat -c %i "out/$name" 2>/dev/null)" = "$(inode_before "$name")" ] &&
            cp "$f" "disk/$name"
    done
    rm -rf out
    mv disk out
}
inode_before() { echo "$before" | awk -v n="$1" '$1 == n { print $2 }'; }

# Blocks whose checkpoint was sealed: renamed, and the directory synced after it.
sealed() { awk '/^rename .*checkpoint.h5$/ { waits = 1 } /^fsync .*\/out$/ { n += waits; waits = 0 } END { print n + 0 }' shadow/events; }

# one BEGIN EVENT NAMES: the failure, and the same command again
one() {
    begin=$1
    rm -rf out
    mkdir out
    [ "$1" = earlier ] && cp earlier/* out
    before=$(cd out && find . -maxdepth 1 -type f -printf '%f %i\n')
    until_event "$2"
    [ "$code" != 0 ] || return 1 # no such event any more
    n=$(sealed) what=$(tail -n 1 shadow/events)
    set_back "$3"
    run 1 case.ini
    behind=$(sed -n 's/.*resuming behind block \([0-9]*\)\/.*/\1/p' log)
    title="$1, event $2, behind '${what#"$work"/}', names: $3"
    if [ "$code" != 0 ]; then
        not_ok "$title: exit code $code"
    elif ! said 'already holds the finished result' && [ "${behind:-0}" -lt "$n" ]; then
        not_ok "$title: $n checkpoints were sealed, it began behind block ${behind:-0}"
    elif [ "$(digest out)" != "$good" ]; then
        not_ok "$title: another digest"
    elif ! no_leftovers out || [ -n "$(find out -name '*.old')" ]; then
        not_ok "$title: files are left behind: $(find out -type f | tr '\n' ' ')"
    else
        run 1 --check out
        [ "$code" = 0 ] || { not_ok "$title: --check refuses the result"; return 0; }
        good_ones=$((good_ones + 1))
    fi
    return 0
}

# Every event under both sets of names; in short every ninth, under one and the other.
for begin_with in nothing earlier; do
    good_ones=0 event=1 tried=0
    while :; do
        names_of=synced
        [ $((tried % 2)) = 1 ] && names_of=now
        one $begin_with $event $names_of || break
        tried=$((tried + 1))
        if [ "${QEP_LONG:-0}" != 1 ]; then event=$((event + 9)); elif [ $names_of = now ]; then event=$((event + 1)); fi
    done
    check "$begin_with: $good_ones of $tried failures, up to event $event, end in the undisturbed result" [ "$good_ones" = "$tried" ]
    check "$begin_with: there were failures" [ "$tried" -gt 4 ]
done

# --- the clock jumps ------------------------------------------------------------------------------------------------

rm -rf out
LD_PRELOAD=$shadow QEP_CLOCK_JUMPS=1 timeout -k 5 "$LIMIT" "$QEP_MPI" case.ini --walltime 0:10:00 >log 2>&1 </dev/null
code=$?
check 'the clock jumps by days: the wall time is not taken for over' [ "$code" = 0 ]
check 'the clock jumps by days: the undisturbed result' [ "$(digest out)" = "$good" ]
check 'the clock jumps by days: the seconds in the summary are those of the run' awk -v s="$(json out/summary.json seconds.forward.max)" 'BEGIN { exit !(s >= 0 && s < 60) }'
finish
