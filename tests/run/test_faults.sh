#!/bin/sh
# An I/O error on any rank ends the job with the right exit code and a message that names the file; no rank hangs. Until publishing an earlier
# result stays as it was; the same command without the fault then gives the result of an undisturbed run.
# SPDX-License-Identifier: Apache-2.0
. tests/run/lib.sh
LIMIT=30

base=$work/base
mkdir "$base"
forge model "$base/m" blocks=2 shards=2
echo '{"made": "for tests"}' >"$base/m/tokenizer.json"
forge npy "$base/c.npy" i4 8x32 160
forge npy "$base/e.npy" u2 300 160
cat >"$base/case.ini" <<'INI'
[model]
path = m
[output]
path = out
shard_size = 60K
[calibration]
data = c.npy
samples = 8
[quantization]
group_size = 32
[evaluation]
data = val:e.npy
INI

# The undisturbed result; an earlier one of other bits; a run stopped after its first block.
run 1 "$base/case.ini" --set "output.path=$work/good"
[ "$code" = 0 ] || bail_out "the undisturbed run ended with $code"
good=$(digest "$work/good")
run 1 "$base/case.ini" --set quantization.bits=3 --set "output.path=$work/earlier"
[ "$code" = 0 ] || bail_out "the earlier run ended with $code"
mkdir "$work/stopped"
touch "$work/stopped/STOP"
run 1 "$base/case.ini" --set "output.path=$work/stopped"
[ "$code" = 75 ] || bail_out "the run that was to stop ended with $code"

# What a user sees as the result: everything but the log and the files of a run in progress.
result() {
    [ -d out ] || return 0
    tree out 'qep_mpi.log' 'qep_mpi.lock' '*.partial' '*.tmp' 'checkpoint*'
}

# again NP WHEN: the same command again, without the fault
again() {
    run "$1" case.ini --set "output.overwrite=$overwrite"
    [ "$code" = 0 ] || { not_ok "$title: the same command again ends with $code"; return 1; }
    [ "$(digest out)" = "$good" ] || { not_ok "$title: the same command again gives another result"; return 1; }
    no_leftovers out || { not_ok "$title: files are left behind"; return 1; }
    [ "$2" = early ] && return
    run 1 --check out
    [ "$code" = 0 ] || { not_ok "$title: --check refuses the result"; return 1; }
}

number=0
one() { # one CODE WHEN BEGIN FAULT TEXT
    number=$((number + 1))
    title="$4 ($3)"
    rm -rf "$work/case"
    cp -r "$base" "$work/case"
    cd "$work/case" || exit 1
    overwrite=no
    case $3 in
        earlier*) cp -r ../earlier out && overwrite=yes ;;
        stopped*) cp -r ../stopped out ;;
        *) mkdir out ;;
    esac
    ranks=3
    case $3 in *nodes) export QEP_RANKS_PER_NODE=2 && ranks=4 ;; esac
    result >"$work/before"
    export QEP_FAULT="$4"
    run "$ranks" case.ini --set "output.overwrite=$overwrite"
    unset QEP_FAULT QEP_RANKS_PER_NODE
    if hung "$code"; then
        not_ok "$title: it hangs"
    elif [ "$code" != "$1" ]; then
        not_ok "$title: exit code $code, not $1"
    elif ! said "$5"; then
        not_ok "$title: no message with: $5"
    elif [ "$2" = early ] && ! { result | diff "$work/before" - >"$work/log"; }; then
        not_ok "$title: the earlier result was changed"
    elif again $((1 + number % 3)) "$2"; then
        ok "$title: exit code $1, then the result of an undisturbed run"
    fi
    cd "$here" || exit 1
}
here=$PWD

# code | until publishing (early) or in it (late) | output folder before, "nodes": 4 ranks on 2 nodes instead of 3 ranks on one | faults | text of the message
while IFS='|' read -r want when begin fault text; do
    case $want in '' | '#'*) continue ;; esac
    one "$want" "$when" "$begin" "$fault" "$text"
done <<'TABLE'
5|early|earlier|safetensors.open:1@0|model-00001-of-00003.safetensors
5|early|earlier nodes|safetensors.open:2@1|model-00002-of-00003.safetensors
5|early|none|safetensors.open:4@2|.safetensors
5|early|earlier|safetensors.open:7@1|.partial
5|early|earlier|safetensors.read:1@1|model-00001-of-00003.safetensors
5|early|none|safetensors.read:3@0|.safetensors
5|early|none nodes|safetensors.read:12@2|.safetensors
5|early|earlier|safetensors.read:30@1|.safetensors
5|early|none|safetensors.read:20@0,safetensors.read:20@1,safetensors.read:20@2|.safetensors
5|early|earlier|data.open:1@0|c.npy
5|early|earlier|data.open:2@2|e.npy
5|early|none|data.read:1@1|c.npy
5|early|earlier nodes|data.read:4@2|e.npy
3|early|none|par.window:1@0|memory
3|early|earlier nodes|par.window:2@1|memory
3|early|none nodes|par.window:4@0|memory
3|early|earlier|safetensors.create:1@0|.partial
3|early|none|safetensors.create:2@0|.partial
5|early|earlier|safetensors.write:1@0|.partial
5|early|earlier|safetensors.write:2@1|.partial
5|early|none nodes|safetensors.write:9@2|.partial
5|early|none|safetensors.write:20@0|.partial
5|early|earlier|safetensors.sync:1@0|.partial
5|early|none|safetensors.sync:2@1|.partial
5|early|earlier|store.create:1@0|checkpoint.h5
5|early|none|store.create:2@0|checkpoint.h5
5|early|earlier|store.room:1@0|checkpoint.h5
5|early|none nodes|store.room:2@0|checkpoint.h5
5|early|none|store.room:4@0|checkpoint.h5
5|early|earlier|store.write:1@0|checkpoint.h5
5|early|none nodes|store.write:3@1|checkpoint.h5
5|early|none|store.write:5@2|checkpoint.h5
5|early|earlier|store.seal:1@1|checkpoint.h5
5|early|none|store.seal:2@0|checkpoint.h5
5|early|none|store.seal:4@0|checkpoint.h5
6|early|stopped|store.open:1@0|checkpoint.h5
6|early|stopped nodes|store.read:1@2|checkpoint.h5
6|early|stopped|store.read:3@1|checkpoint.h5
5|early|stopped|safetensors.open:5@1|.safetensors
5|early|stopped|store.write:2@2|checkpoint.h5
5|early|none|file.write:1@0|modules.csv.partial
5|early|earlier|file.write:2@0|modules.csv.partial
5|early|earlier|export.side:1@0|tokenizer.json
5|late|none|export.rename:1@0|.partial
5|early|earlier|export.rename:1@0|cannot rename
5|late|none|export.rename:2@0|.partial
5|early|earlier|export.rename:3@0|cannot rename
5|late|none|export.rename:5@0|.partial
5|late|earlier|file.write:5@0|.partial
5|late|earlier|file.write:6@0|.partial
5|late|earlier|file.write:7@0|modules.csv
5|late|none|file.write:8@0|qep_mpi.ini
5|late|none|file.write:9@0|report.html
5|late|none|file.write:10@0|summary.json
5|late|earlier|file.write:10@0|summary.json
TABLE

# --- every call of every site on every rank (QEP_LONG=1) ------------------------------------------------

sites() { grep -rhoE 'qep_fault\("[^"]*"\)' src | sed 's/.*"\(.*\)".*/\1/' | sort -u; }

# all_calls SITE RANK BEGIN: until the run has no more such calls
all_calls() {
    call=0 bad=''
    while [ "$call" -lt 300 ]; do
        call=$((call + 1))
        rm -rf out
        [ "$3" = stopped ] && cp -r ../stopped out
        export QEP_FAULT="$1:$call@$2"
        run 3 case.ini
        unset QEP_FAULT
        [ "$code" = 0 ] && [ "$(digest out)" = "$good" ] && ! said 'going on from the previous' && break
        case $code in 0 | 3 | 5 | 6) ;; *) bad="$bad call $call ended with $code;" ;; esac
        [ "$code" = 0 ] && [ "$(digest out)" != "$good" ] && bad="$bad call $call gave another result;"
        run 2 case.ini
        [ "$code" = 0 ] && [ "$(digest out)" = "$good" ] || bad="$bad after call $call the same command ended with $code;"
    done
    if [ -z "$bad" ]; then ok "each of $((call - 1)) calls of $1 on rank $2 ($3)"; else not_ok "$1 on rank $2 ($3): $bad"; fi
}

if [ "${QEP_LONG:-0}" = 1 ]; then
    rm -rf "$work/case"
    cp -r "$base" "$work/case"
    cd "$work/case" || exit 1
    for site in $(cd "$here" && sites); do
        for r in 0 1 2; do
            all_calls "$site" "$r" none
            case $site in store.open | store.read | safetensors.open) all_calls "$site" "$r" stopped ;; esac
        done
    done
    cd "$here" || exit 1
else
    skip 'every call of every site on every rank' 'QEP_LONG=1 runs it'
fi

# --- real faults, in the middle of a run ------------------------------------------------------------

# ended WHAT CODES TEXT: how the job that was started ended
ended() {
    end_of "$job"
    unset QEP_TEST_BLOCK_SLEEP
    if hung "$code"; then
        not_ok "$1: it hangs"
    elif ! echo "$2" | grep -qw "$code"; then
        not_ok "$1: exit code $code, not $2"
    elif ! said "$3"; then
        not_ok "$1: no message with: $3"
    else
        ok "$1: exit code $code"
    fi
}

# begin NP OPTION...: a slow job on a fresh folder, until its first block is done
begin() {
    rm -rf "$work/case"
    cp -r "$base" "$work/case"
    cd "$work/case" || exit 1
    export QEP_TEST_BLOCK_SLEEP=0.5
    start "$@"
    wait_until "said 'block 1/2 done'" || bail_out 'the first block does not come'
}

title='after a full disk'
overwrite=no
mkdir "$work/small"
if mount -t tmpfs -o size=1500k none "$work/small" 2>/dev/null; then
    mounts=$work/small
    rm -rf "$base/out"
    ln -s "$work/small" "$base/out"
    begin 3 case.ini
    cat /dev/zero >out/filler 2>/dev/null
    ended 'disk full during a run' '3 5' /out/ # names the file, whichever was the first that found no room
    rm out/filler
    again 2 late && ok "$title: the result of an undisturbed run"
    cd "$here" || exit 1
    rm "$base/out"
else
    skip 'disk full during a run' 'no small file system can be mounted'
fi

# A limit on the size of a file acts like a quota: on the shards, then on the checkpoint. (Only one rank: it would hold for mpirun's own files;
# and without shared memory, for which MPICH on UCX makes a file.)
title='after a quota'
while read -r blocks want named; do
    rm -rf "$work/case"
    cp -r "$base" "$work/case"
    cd "$work/case" || exit 1
    (ulimit -f "$blocks" && UCX_TLS=self exec timeout -k 5 "$LIMIT" "$QEP_MPI" case.ini >"$work/log" 2>&1 </dev/null)
    code=$?
    check "a quota of $blocks blocks: exit code $want" [ "$code" = "$want" ]
    check "... and the message: $named" said "$named"
    again 2 late && ok "$title of $blocks blocks: the result of an undisturbed run"
done <<'QUOTAS'
50 3 no space for
200 5 checkpoint.h5.tmp
QUOTAS

mkdir "$work/full"
if mount -t tmpfs -o size=4k none "$work/full" 2>/dev/null; then
    mounts="$mounts $work/full"
    rm -rf "$work/case/out"
    mkdir "$work/case/out"
    ln -s "$work/full/log" "$work/case/out/qep_mpi.log"
    run 2 case.ini
    check 'no room for the log: the run does without' [ "$code" = 0 ]
    check '... says so' said 'cannot write the log file: No space left on device'
    check '... and gives the result of an undisturbed run' [ "$(digest out)" = "$good" ]
else
    skip 'no room for the log' 'no small file system can be mounted'
fi
cd "$here" || exit 1

# Neither this nor the next while a checkpoint is being created: MPI_File_open of Open MPI's OMPIO waits for ever when the file cannot be opened any more
# after some ranks have opened it.
# Made read-only elsewhere and put over the folder in one step: a folder with a file that is open for writing cannot be made read-only.
begin 2 case.ini
wait_until "[ -f out/checkpoint.h5 ]"
mkdir frozen
if mount --bind out frozen 2>/dev/null; then
    mounts="$mounts $work/case/frozen $work/case/out"
    mount -o remount,bind,ro frozen && mount --bind frozen out || bail_out 'the folder does not become read-only'
    ended 'output folder becomes read-only during a run' 5 out/
    umount out frozen
    title='after a read-only folder'
    again 1 late && ok "$title: the result of an undisturbed run"
else
    end_of "$job"
    unset QEP_TEST_BLOCK_SLEEP
    skip 'output folder becomes read-only during a run' 'no bind mount'
fi
cd "$here" || exit 1

begin 3 case.ini
wait_until "[ -f out/checkpoint.h5 ]"
until rm -rf out 2>/dev/null; do :; done
ended 'output folder removed during a run' 5 out/
cd "$here" || exit 1

begin 2 case.ini
for f in m/*.safetensors; do truncate -s 5000 "$f"; done
ended 'weights cut off during a run' '2 5' .safetensors
cd "$here" || exit 1

begin 2 case.ini
for f in m/*.safetensors; do cp "$f" "$f.good" && printf x | dd of="$f" bs=1 seek=5000 conv=notrunc 2>/dev/null; done
ended 'weights written over during a run' 2 'was written to while in use'
title='after weights that were written over'
for f in m/*.safetensors; do mv "$f.good" "$f"; done
again 1 late && ok "$title: the result of an undisturbed run"
cd "$here" || exit 1
finish
