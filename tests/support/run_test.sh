#!/bin/sh
# run_test.sh NP PROGRAM [ARGUMENT...]: runs a test on NP ranks (without mpirun for NP = 1), TAP on stdout, exit code passed on.
# QEP_TEST_PRELOAD: library that the test and its ranks load. QEP_TEST_TIMEOUT: seconds until it is ended (124, or 137 when it had to be killed). QEP_MPIRUN: launcher and options.
# SPDX-License-Identifier: Apache-2.0
set -u
np=$1
shift
limit=${QEP_TEST_TIMEOUT:-120}
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 CMOCKA_MESSAGE_OUTPUT=TAP
# more ranks and threads than cores: waiting threads must not take the core from those that work
export OMP_WAIT_POLICY=passive OMPI_MCA_mpi_yield_when_idle=1
# a core type set for another machine would halve the speed and change the bits
unset OPENBLAS_CORETYPE OPENBLAS_L2_SIZE

# BUILD=asan: MPI's frames are only known to the slow unwinder, without it the suppressions miss; tests without MPI go without it.
# Requests for too much memory must fail as they do elsewhere.
here=$(cd "$(dirname "$0")" && pwd)
case $1 in
    */unit/par/*) slow=1 ;;
    */unit/*) slow=0 ;;
    *) slow=1 ;;
esac
export ASAN_OPTIONS="${ASAN_OPTIONS:-allocator_may_return_null=1:fast_unwind_on_malloc=$((1 - slow))}"
export LSAN_OPTIONS="${LSAN_OPTIONS:-suppressions=$here/lsan.supp:print_suppressions=0}"
export UBSAN_OPTIONS="${UBSAN_OPTIONS:-print_stacktrace=1}"

# Ranks that were killed leave their shared memory behind: give them a folder that is removed here.
shm=$(mktemp -d /dev/shm/qep_test.XXXXXX 2>/dev/null) || shm=''
if [ -n "$shm" ]; then
    export OMPI_MCA_btl_vader_backing_directory="$shm" OMPI_MCA_osc_sm_backing_directory="$shm"
    trap 'rm -rf "$shm"' EXIT
fi

[ -n "${QEP_TEST_PRELOAD:-}" ] && export LD_PRELOAD="$QEP_TEST_PRELOAD"

if [ "$np" = 1 ]; then
    timeout -k 10 "$limit" "$@" </dev/null
else
    : "${OMP_NUM_THREADS:=1}"
    export OMP_NUM_THREADS
    # shellcheck disable=SC2086 # launcher and its options
    timeout -k 10 "$limit" ${QEP_MPIRUN:-mpirun --oversubscribe --bind-to none} -np "$np" "$@" </dev/null
fi
