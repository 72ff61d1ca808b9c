#!/bin/sh
# run_test.sh NP BINARY: runs one cmocka binary on NP ranks (no mpirun for NP = 1), TAP on stdout, exit code passed on.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 CMOCKA_MESSAGE_OUTPUT=TAP
unset OPENBLAS_CORETYPE OPENBLAS_L2_SIZE
np=$1; shift
limit=${QEP_TEST_TIMEOUT:-120}
if [ "$np" = 1 ]; then exec timeout "$limit" "$@"; fi
exec timeout "$limit" mpirun --oversubscribe --bind-to none -np "$np" "$@"
