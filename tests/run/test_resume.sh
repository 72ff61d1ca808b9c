#!/bin/sh
# A run that is stopped or killed goes on, on any number of ranks and threads, to the result of an undisturbed run; and what
# --restart, a second job and a finished output do. (Kills at random moments: test_kills.sh.) SPDX-License-Identifier: Apache-2.0
. tests/run/lib.sh
LIMIT=60

forge_case blocks=5
undisturbed_case
growth() { json "$1/summary.json" | grep ^error_growth; } # of all three kinds of sequences
good_growth=$(growth good)

# --- parts of the cases ------------------------------------------------------------------------

# slow SECONDS: what starts from now on sleeps so long after each block; 0: not at all
slow() { export QEP_TEST_BLOCK_SLEEP="$1"; }

# begin NP OPTION...: a new output folder and a job on it in the background
begin() {
    rm -rf out
    start "$@"
}

# after_block N: waits until the running job has done N blocks
after_block() { wait_until "said 'block $1/5 done'" || bail_out "block $1 does not come"; }

rank() { ranks | sed -n "$1p"; } # process of the $1-th rank

# hydra, the launcher of MPICH, now and then loses the exit codes of ranks to which it has passed a signal on, and ends with 0 (INSTALL)
handed_on='75'
hydra && handed_on='75 0'

# stopped TEXT [CODES]: the job ended with 75, or one of CODES, and tells how to go on
stopped() {
    end_of "$job"
    if ! echo "${2:-75}" | grep -qw "$code"; then
        not_ok "$1: exit code $code, not ${2:-75}"
    elif ! said 'submit the same command again'; then
        not_ok "$1: no word on how to go on"
    elif [ ! -f out/checkpoint.h5 ]; then
        not_ok "$1: no checkpoint"
    else
        ok "$1: exit code $code"
    fi
}

# same NP TEXT OPTION...: finishes the job; the result is that of the undisturbed run
same() {
    np=$1 text=$2
    shift 2
    slow 0
    run "$np" case.ini "$@"
    if [ "$code" != 0 ]; then
        not_ok "$text: exit code $code"
    elif [ "$(digest out)" != "$good" ]; then
        not_ok "$text: another digest: $(digest out), not $good"
    elif [ "$(growth out)" != "$good_growth" ]; then
        not_ok "$text: another growth of the error"
    elif ! no_leftovers out; then
        not_ok "$text: files are left behind"
    else
        ok "$text: the digest of the undisturbed run"
    fi
}

# --- requests to stop ----------------------------------------------------------------------------

slow 0.2
begin 3 case.ini
after_block 1
touch out/STOP
stopped 'file STOP'
check 'file STOP is taken away' [ ! -e out/STOP ]
same 1 'after STOP, from 3 ranks to 1 with 2 threads' --set run.threads=2
check 'the resumed run says so' said 'resuming behind block'

slow 0.2
begin 2 case.ini
after_block 2
kill -USR1 "$launcher"
stopped 'USR1 to mpirun' "$handed_on"
same 3 'after USR1, from 2 ranks to 3'

slow 0.2
begin 3 case.ini --set checkpoint.every=never
after_block 1
check 'no checkpoint under every = never' [ ! -e out/checkpoint.h5 ]
kill -USR1 "$(rank 2)"
stopped 'USR1 to one rank, every = never'
same 4 'after USR1 to one rank, from 3 ranks to 4'

slow 0.2
begin 2 case.ini --set checkpoint.every=never
after_block 1
if hydra; then kill -USR2 "$(rank 2)"; else kill -USR2 "$launcher"; fi # hydra does not hand USR2 on, and would end by it
check 'USR2 makes a checkpoint' wait_until '[ -f out/checkpoint.h5 ]'
end_of "$job"
check 'after USR2 the run goes on to its end' [ "$code" = 0 ]
check 'after USR2: the digest of the undisturbed run' [ "$(digest out)" = "$good" ]
check 'after USR2: nothing is left behind' no_leftovers out

slow 0.2
begin 3 case.ini
after_block 2
kill -TERM "$(rank 1)"
stopped 'TERM to one rank'
same 2 'after TERM to one rank, from 3 ranks to 2' --set run.threads=2

slow 0.2
begin 2 case.ini
wait_until "said 'disk: '"
kill -USR1 "$(rank 1)"
stopped 'USR1 before the first block ends'
same 2 'after USR1 in the first block'

slow 0.2
begin 3 case.ini
wait_until "said 'disk: '"
kill -TERM "$(rank 2)"
end_of "$job"
check 'TERM in the first block: exit code 75' [ "$code" = 75 ]
same 1 'after TERM in the first block'

slow 0.8 # mpirun takes a second to pass it on
begin 4 case.ini
after_block 1
kill -TERM "$launcher"
if hydra; then # waits for the ranks
    stopped 'TERM to mpirun' "$handed_on"
else # may kill them meanwhile
    end_of "$job"
    check 'TERM to mpirun ends the job without success' [ "$code" != 0 ]
fi
check 'TERM to mpirun leaves a checkpoint' [ -f out/checkpoint.h5 ]
same 1 'after TERM to mpirun, from 4 ranks to 1'

slow 0.4
rm -rf out
jobs=0
code=75
while [ "$code" = 75 ] && [ "$jobs" -lt 10 ]; do
    jobs=$((jobs + 1))
    run $((1 + jobs % 2)) case.ini --walltime 0:00:02
done
check "wall time: ended by itself, in $jobs jobs" [ "$code" = 0 ]
check 'wall time: more than one job was needed' [ "$jobs" -gt 1 ]
check 'wall time: the digest of the undisturbed run' [ "$(digest out)" = "$good" ]

# 1.2 s for a checkpoint behind block 1 and as much again behind block 2; a third would not end within 4 s
slow 0.05
rm -rf out
export QEP_TEST_SAVE_SLEEP=1.2
run 1 case.ini --walltime 0:00:04
unset QEP_TEST_SAVE_SLEEP
check "wall time: what a checkpoint takes counts, exit code $code" [ "$code" = 75 ]
check 'wall time: and the run ends before block 3' sh -c 'grep -q "block [12]/5 done" out/qep_mpi.log && ! grep -q "block 3/5 done" out/qep_mpi.log'

# --- kills -----------------------------------------------------------------------------------------

slow 0.2
begin 3 case.ini
after_block 3
kill -9 "$(rank 3)"
end_of "$job"
check 'a killed rank ends the job' [ "$code" != 0 ]
same 1 'after the kill of one rank, from 3 ranks to 1'

# --- what is on disk --------------------------------------------------------------------------------

slow 0.1
begin 2 case.ini
after_block 3
kill -USR1 "$launcher"
stopped 'a run to copy' "$handed_on"
cp -r out kept
fresh() { rm -rf out && cp -r kept out; }

check 'two generations of the checkpoint' [ -f out/checkpoint.h5.prev ]
printf x | dd of=out/checkpoint.h5 bs=1 seek=3000 conv=notrunc 2>/dev/null
truncate -s -1000 out/checkpoint.h5
same 3 'newest checkpoint damaged: the one before serves'
check 'the log tells of the damaged checkpoint' said 'going on from the previous checkpoint'

# ... whatever byte of it: found by a checksum, or of no importance
size=$(wc -c <kept/checkpoint.h5) flips=4
[ "${QEP_LONG:-0}" = 1 ] && flips=60
for part in $(seq 1 $flips); do
    fresh
    at=$((size * (2 * part - 1) / (2 * flips)))
    byte=$(od -An -tu1 -j "$at" -N 1 out/checkpoint.h5 | tr -d ' ')
    # shellcheck disable=SC2059 # an escape sequence is what is wanted
    printf "\\$(printf '%03o' $((byte ^ 16)))" | dd of=out/checkpoint.h5 bs=1 seek="$at" conv=notrunc 2>/dev/null
    same $((part % 3 + 1)) "a bit of the newest checkpoint flipped, at $at of $size"
done

# ... and goes on serving until a new one is there: this job ends while it publishes its first
fresh
truncate -s -1000 out/checkpoint.h5
QEP_FAULT=store.seal:2@0 run 2 case.ini
check 'newest checkpoint damaged, the next one not published: I/O error' [ "$code" = 5 ]
same 2 'newest checkpoint damaged, the next one not published'

fresh
same 2 '--restart yes with a checkpoint' --restart yes
check '--restart yes resumes' said 'resuming behind block'
fresh
same 2 '--restart no' --restart no
check '--restart no begins anew' sh -c "! grep -q resuming '$work/log'"
fresh
same 3 'other threads, memory plan, grid and log level on resuming' --set run.threads=2 --set run.activations=recompute \
    --set solver.grid=2x1 --set run.log_level=debug --set checkpoint.keep=1

slow 0.1
begin 2 case.ini --set checkpoint.every=2 --set checkpoint.keep=1 --set checkpoint.path=elsewhere/cp
after_block 4
kill -9 "$(rank 1)"
end_of "$job"
check 'checkpoint elsewhere' [ -f elsewhere/cp.h5 ]
check 'one generation of it' [ ! -e elsewhere/cp.h5.prev ]
same 1 'checkpoint elsewhere, every 2 blocks' --set checkpoint.path=elsewhere/cp
check 'checkpoint elsewhere: gone after success' rmdir elsewhere

# --- other jobs on the same output --------------------------------------------------------------------

# second OPTION...: another job, of one rank, beside the one that runs and writes to the log
# shellcheck disable=SC2120 # held passes them
second() {
    timeout -k 5 "$LIMIT" "$QEP_MPI" case.ini "$@" >second.log 2>&1 </dev/null
    code=$?
}

# held COMMAND: while the ranks of the running job stand still, its locks in their hands
held() {
    stopped_ranks=$(ranks)
    # shellcheck disable=SC2086 # several processes
    kill -STOP $stopped_ranks
    "$@"
    # shellcheck disable=SC2086
    kill -CONT $stopped_ranks
}

slow 0.5
begin 2 case.ini
after_block 1
held second
check 'a second job on the same output is refused' [ "$code" = 1 ]
check 'and told why, and which job it is' grep -q 'another job is working on .*out (process [0-9]* on ' second.log
held second --set output.path=other --set checkpoint.path=out/checkpoint
check 'a job with another output on the same checkpoint is refused' [ "$code" = 1 ]
check 'and told which' grep -q 'another job is working on .*out/checkpoint.h5 (process ' second.log
end_of "$job"
check 'the first job is not disturbed' [ "$code" = 0 ]
check 'the first job: the digest of the undisturbed run' [ "$(digest out)" = "$good" ]
check 'the first job: no lock is left' no_leftovers out
rm -rf other

# ... nor one of the same settings that waits for the lock until the result is there
begin 2 case.ini
after_block 4
check 'another job comes before the first one has a result' [ ! -e out/summary.json ]
held sh -c '"$1" case.ini >second.log 2>&1 </dev/null & sleep 1.5' sh "$QEP_MPI"
end_of "$job"
check 'the one that it has waited for: exit code 0' [ "$code" = 0 ]
wait_until "grep -q 'finished normally' second.log" || not_ok 'the other job does not end normally'
check 'the other job says that there is nothing to do' grep -q 'nothing to do' second.log

slow 0
run 1 case.ini --restart no --set output.path=saved --set checkpoint.every=2
check 'a block that is saved: its line has the seconds of the checkpoint' grep -q 'block 2/.* done in .*, checkpoint in .*, .* left' "$work/log"
check '... and one that is not: none' grep -q 'block 1/[0-9]* done in [^,]*, [^,]* left' "$work/log"
rm -rf saved
cp -r out first
rm -rf out
run 2 case.ini --dry-run
check 'a dry run: exit code 0' [ "$code" = 0 ]
check 'a dry run tells the plan' said 'dry run: nothing was written'
check 'a dry run touches nothing' [ ! -e out ]
mv first out
tree out >before
run 2 case.ini --dry-run
check 'a dry run on a finished output: exit code 0' [ "$code" = 0 ]
check '... it says so' said 'nothing to do'
tree out >after
check '... and touches nothing' cmp -s before after
run 2 case.ini
check 'a finished output: nothing to do' said 'nothing to do'
check 'a finished output: exit code 0' [ "$code" = 0 ]
tree out >after
check 'a finished output: not touched' cmp -s before after
run 2 case.ini --restart no
check 'a finished output, --restart no without overwrite: refused' [ "$code" = 1 ]
tree out >after
check 'a finished output, refused: not touched' cmp -s before after
same 3 'a finished output, --restart no with overwrite: done again' --restart no --set output.overwrite=yes
run 1 --check out
check 'the result passes --check' [ "$code" = 0 ]
finish
