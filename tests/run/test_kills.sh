#!/bin/sh
# Kill soak: jobs follow each other on one output folder, each on another number of ranks and each killed (-9; one rank or all of them) at a random
# moment of its start, its blocks, its checkpoints or its end, QEP_KILLS times in a row (10; with QEP_LONG=1, or `make soak`, 200). A job
# goes on from where the killed one was, less one block at most; whenever one reaches its end first, the result is that of the
# undisturbed run and nothing else lies beside it. SOAK_SEED: repeats the choices of another run (not its timing).
# SPDX-License-Identifier: Apache-2.0
# The moments are functions called by name; file names have no blanks.
# shellcheck disable=SC2317,SC2012
. tests/run/lib.sh
LIMIT=300 # the timeout of a job: also of one that waits for its moment on a busy machine
kills_wanted=${QEP_KILLS:-$([ "${QEP_LONG:-0}" = 1 ] && echo 200 || echo 10)}
seed=${SOAK_SEED:-$(date +%s)}
blocks=6

forge_case blocks=$blocks shards=2
undisturbed_case
good_growth=$(json good/summary.json | grep ^error_growth)
good_files=$(ls good)
export QEP_TEST_BLOCK_SLEEP=0.02

state=$seed
draw() { # draw N: a number 0 .. N - 1 in $drawn
    state=$(((state * 1103515245 + 12345) % 2147483648))
    drawn=$((state / 256 % $1))
}

# --- what a job and the folder tell ---------------------------------------------------------------------------

since=0 # lines of qep_mpi.log that earlier jobs wrote
own_log() { [ -f out/qep_mpi.log ] && tail -n +$((since + 1)) out/qep_mpi.log; }
blocks_done() { own_log | sed -n 's/.*block \([0-9]*\)\/.* done in.*/\1/p' | tail -n 1; }
resumed_behind() { own_log | sed -n 's/.*resuming behind block \([0-9]*\)\/.*/\1/p' | tail -n 1; }
ended() { ! kill -0 "$job" 2>/dev/null; }

# The moments: each waits until it comes, or the job has ended.
at_start() { draw 700; ms=$drawn; }
in_blocks() {
    draw $((blocks + 1)); n=$drawn
    draw 60; ms=$drawn
    wait_until "ended || [ \"0\$(blocks_done)\" -ge $n ] && own_log | grep -q 'disk: '"
}
in_checkpoint() {
    draw 6; ms=$drawn
    rm -f out/checkpoint.h5.tmp # of the job before
    until [ -e out/checkpoint.h5.tmp ] || ended; do :; done
}
at_end() { # the result is being published
    draw 40; ms=$drawn
    until [ -e out/config.json ] || ended; do :; done
}

kill_job() {
    all=$(ranks)
    draw 3; who=all
    # shellcheck disable=SC2086 # several processes
    if [ "$drawn" = 0 ] && [ -n "$all" ]; then # one rank: the launcher ends the others
        set -- $all
        draw $#
        shift "$drawn"
        kill -9 "$1" 2>/dev/null
        who='one rank'
    else
        kill -9 "$launcher" $all 2>/dev/null
    fi
}

# --- the soak ---------------------------------------------------------------------------------------------------

kills=0 finished=0 jobs=0 np=1
have=0     # blocks that the next job must not do again
wrong=''

# The job reached its end: the result, then all anew.
examine_result() {
    finished=$((finished + 1))
    [ "$(digest out)" = "$good" ] || wrong="job $jobs ended with another digest"
    [ "$(json out/summary.json | grep ^error_growth)" = "$good_growth" ] || wrong="job $jobs ended with another growth of the error"
    [ "$(ls out)" = "$good_files" ] || wrong="job $jobs left other files: $(ls out | tr '\n' ' ')"
    rm -rf out
    have=0 since=0
}

# Where this job began; it must not be before what was known to be saved.
examine_start() {
    began=$(resumed_behind)
    [ -n "$began" ] || { [ -n "$(blocks_done)" ] && began=0; }
    [ -n "$began" ] || return # killed before it came to that
    [ "$began" -ge "$have" ] || wrong="job $jobs went on behind block $began, but $have were safe"
    [ "$began" -gt "$have" ] && have=$began
    done_then=$(blocks_done)
    # a block is announced behind its checkpoint
    [ -n "$done_then" ] && [ "$done_then" -gt "$have" ] && have=$done_then
    return 0
}

while [ "$kills" -lt "$kills_wanted" ] && [ -z "$wrong" ]; do
    jobs=$((jobs + 1))
    draw 3; np=$(((np + drawn) % 4 + 1)) # another number of ranks than before
    draw 8
    case $drawn in 0 | 1) moment=at_start ;; 2 | 3 | 4) moment=in_blocks ;; 5 | 6) moment=in_checkpoint ;; 7) moment=at_end ;; esac
    start $np case.ini
    $moment
    sleep "$(printf '0.%03d' "$ms")"
    if ended && grep -q 'finished normally' log; then
        end_of "$job"
        examine_result
        continue
    fi
    kill_job
    end_of "$job"
    if grep -q 'finished normally' log; then examine_result; continue; fi # it was faster
    kills=$((kills + 1))
    [ "$code" = 124 ] && wrong="job $jobs hangs after the kill"
    grep -E '^error: |qep_mpi: rank' log | grep -q . && wrong="job $jobs reports an error: $(grep -E '^error: |qep_mpi: rank' log | head -n 1)"
    examine_start
    echo "# kill $kills, job $jobs: $who of $np, $moment + $ms ms; began behind ${began:-?}, done ${done_then:-?}; left: $(find out -name '*checkpoint*' -o -name '*.tmp' -o -name '*.partial' 2>/dev/null | tr '\n' ' ')"
    since=0
    [ -f out/qep_mpi.log ] && since=$(wc -l <out/qep_mpi.log)
    began='' done_then=''
done
echo "# seed $seed: $kills kills, $jobs jobs, $finished of them reached their end"
check "$kills kills in a row, seed $seed: $wrong" [ -z "$wrong" ]
if [ -z "$wrong" ]; then
    jobs=$((jobs + 1))
    QEP_TEST_BLOCK_SLEEP=0
    run $((1 + seed % 4)) case.ini
    check 'the last job ends' [ "$code" = 0 ]
    examine_start
    examine_result
    check "... with the undisturbed result and no other files $wrong" [ -z "$wrong" ]
fi
finish
