#!/bin/bash
# jobs/slurm.sh on a real Slurm: munged, slurmctld and slurmd of our own, on this machine, in a temporary folder. Three runs of the
# bundled model, slowed down so that they meet their time limit of a minute: one is signalled in time and requeued, one is cancelled,
# one runs into the limit; each must end with the digest of an undisturbed run. About four minutes.
# O: build folder. SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2317 # functions that are called by name
set -u
cd "$(dirname "$0")/../.." || exit 1
top=$PWD
O=${O:-build/release}
# mpirun and a rank's threads as on any small machine
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMP_NUM_THREADS=1
export QEP_MPIRUN='mpirun --oversubscribe --bind-to none -np 2' QEP_PROGRAM=$top/$O/qep_mpi
unset OPENBLAS_CORETYPE OPENBLAS_L2_SIZE

# --- the daemons ---------------------------------------------------------------------------

install_slurm() {
    missing=''
    command -v slurmctld >/dev/null && command -v slurmd >/dev/null && command -v sbatch >/dev/null || missing=slurm-wlm
    command -v munged >/dev/null || missing="$missing munge"
    [ -n "$missing" ] || return 0
    as_root=''
    [ "$(id -u)" = 0 ] || as_root=sudo
    echo "check-slurm: installing with apt-get: $missing"
    $as_root apt-get update -qq
    # shellcheck disable=SC2086 # names
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $missing >/dev/null
}

PATH=$PATH:/usr/sbin:/sbin
install_slurm || { echo "check-slurm: slurm-wlm and munge are needed" >&2; exit 1; }
tmp=$(mktemp -d /tmp/qep_slurm.XXXXXX) || exit 1
chmod 755 "$tmp"
mkdir -p "$tmp"/{munge,state,spool,runs}
export SLURM_CONF=$tmp/slurm.conf
own=() # processes to end

stop_all() {
    trap - EXIT INT TERM
    scancel --quiet --user="$(id -un)" 2>/dev/null
    for _ in $(seq 20); do
        [ -z "$(squeue -h 2>/dev/null)" ] && break
        sleep 0.5
    done
    for ((i = ${#own[@]} - 1; i >= 0; i--)); do kill "${own[i]}" 2>/dev/null; done
    wait
    if [ "$1" = 0 ] && [ -z "${QEP_KEEP:-}" ]; then rm -rf "$tmp"; else echo "# logs are in $tmp"; fi
    exit "$1"
}
trap 'stop_all 1' INT TERM
trap 'stop_all $?' EXIT

free_port() {
    local p
    while :; do
        p=$((20000 + RANDOM % 20000))
        (exec 3<>"/dev/tcp/127.0.0.1/$p") 2>/dev/null || { echo "$p"; return; }
    done
}

write_conf() {
    local host user
    host=$(hostname -s)
    user=$(id -un)
    cat >"$SLURM_CONF" <<E2
ClusterName=qep
SlurmctldHost=$host(127.0.0.1)
SlurmUser=$user
SlurmdUser=$user
SlurmctldPort=$(free_port)
SlurmdPort=$(free_port)
AuthType=auth/munge
AuthInfo=socket=$tmp/munge/socket,cred_expire=15
StateSaveLocation=$tmp/state
SlurmdSpoolDir=$tmp/spool
SlurmctldPidFile=$tmp/slurmctld.pid
SlurmdPidFile=$tmp/slurmd.pid
SlurmctldLogFile=$tmp/slurmctld.log
SlurmdLogFile=$tmp/slurmd.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/builtin
KillWait=5
ReturnToService=2
NodeName=$host NodeAddr=127.0.0.1 CPUs=8 State=UNKNOWN
PartitionName=test Nodes=$host Default=YES MaxTime=INFINITE State=UP
E2
}

# until COMMAND... succeeds, at most SECONDS
within() {
    local limit=$1 t
    shift
    for ((t = 0; t < limit * 5; t++)); do
        "$@" && return 0
        sleep 0.2
    done
    return 1
}

node_is_idle() { sinfo -h -o %T 2>/dev/null | grep -qx -e idle -e mixed; }

start_slurm() {
    dd if=/dev/urandom of="$tmp/munge/key" bs=128 count=1 2>/dev/null
    chmod 400 "$tmp/munge/key"
    munged --foreground --force --key-file="$tmp/munge/key" --socket="$tmp/munge/socket" --pid-file="$tmp/munge/pid" \
        --log-file="$tmp/munge/log" --seed-file="$tmp/munge/seed" >/dev/null 2>&1 &
    own+=($!)
    within 10 test -S "$tmp/munge/socket" || return 1
    write_conf
    slurmctld -D -f "$SLURM_CONF" >/dev/null 2>&1 &
    own+=($!)
    slurmd -D -f "$SLURM_CONF" >/dev/null 2>&1 &
    own+=($!)
    within 30 node_is_idle
}

# --- jobs ----------------------------------------------------------------------------------

n=0 failed=0
report() { # STATUS NAME
    n=$((n + 1))
    if [ "$1" = 0 ]; then echo "ok $n - $2"; else
        echo "not ok $n - $2"
        failed=1
    fi
}

# submit NAME SLEEP [sbatch options]: the bundled model into $tmp/runs/NAME, SLEEP seconds longer per block; sets id
submit() {
    local name=$1
    export QEP_TEST_BLOCK_SLEEP=$2 QEP_CONFIG=$top/config/quickstart/qep.ini
    export QEP_OPTIONS="--set output.path=$tmp/runs/$name"
    shift 2
    id=$(sbatch --parsable --chdir="$tmp/runs" --output="$tmp/runs/$name.out" --nodes=1 --ntasks-per-node=2 --cpus-per-task=1 \
        --time=1 "$@" jobs/slurm.sh)
}

# One word of "scontrol show job", as JobState, Restarts.
job() { scontrol -o show job "$1" 2>/dev/null | tr ' ' '\n' | sed -n "s/^$2=//p"; }
is_over() { [[ $(job "$1" JobState) =~ ^(COMPLETED|CANCELLED|TIMEOUT|FAILED|NODE_FAIL)$ ]]; }
has_block() { grep -q "^.*block $2/" "$tmp/runs/$1.out" 2>/dev/null; }
digest() { sed -n 's/.*"digest": *"\([0-9a-f]*\)".*/\1/p' "$tmp/runs/$1/summary.json" 2>/dev/null; }

# ended NAME ID STATE: the job ends in that state
ended() {
    within 300 is_over "$2"
    local state
    state=$(job "$2" JobState)
    [ "$state" = "$3" ]
    report $? "$1: the job ends as $3"
    [ "$state" = "$3" ] || { echo "# state $state"; tail -n 15 "$tmp/runs/$1.out" | sed 's/^/# /'; }
}

same_digest() {
    [ -n "$digest" ] && [ "$(digest "$1")" = "$digest" ]
    report $? "$1: the digest is that of an undisturbed run"
}

start_slurm
report $? "Slurm runs"
[ $failed = 0 ] || { tail -n 5 "$tmp"/*.log; exit 1; }

submit undisturbed 0
first=$id
submit signalled 22 --signal=B:USR1@20
signalled=$id
# CONT does nothing: no warning comes, as with --signal missing
submit limit 26 --signal=B:CONT@20
limit=$id
submit cancelled 4
cancelled=$id

ended undisturbed "$first" COMPLETED
digest=$(digest undisturbed)
[ -n "$digest" ]
report $? "undisturbed: there is a digest"

within 60 has_block cancelled 1
scancel "$cancelled"
ended cancelled "$cancelled" CANCELLED
[ ! -f "$tmp/runs/cancelled/summary.json" ] && [ -f "$tmp/runs/cancelled/checkpoint.h5" ]
report $? "cancelled: unfinished, with a checkpoint"
submit cancelled 0
ended cancelled "$id" COMPLETED
grep -q resuming "$tmp/runs/cancelled.out"
report $? "cancelled: the second job goes on from the checkpoint"
same_digest cancelled

ended limit "$limit" TIMEOUT
submit limit 0
ended limit "$id" COMPLETED
grep -q resuming "$tmp/runs/limit.out"
report $? "limit: the second job goes on from the checkpoint"
same_digest limit

ended signalled "$signalled" COMPLETED
[ "$(job "$signalled" Restarts)" -ge 1 ]
report $? "signalled: the job was requeued"
grep -q 'USR1' "$tmp/runs/signalled.out" && grep -q 'exit code 75' "$tmp/runs/signalled.out" && grep -q resuming "$tmp/runs/signalled.out"
report $? "signalled: USR1, exit code 75, resumed"
same_digest signalled

echo "1..$n"
exit $failed
