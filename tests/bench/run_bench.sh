#!/bin/sh
# run_bench.sh NP PROGRAM [ARGUMENT...]: runs the benchmark on NP ranks (without mpirun for NP = 1).
# QEP_MPIRUN: launcher and options, for example "mpirun --map-by slot:PE=4 --bind-to core".
# SPDX-License-Identifier: Apache-2.0
set -u
np=$1
shift
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
# a core type set for another machine halves the speed of OpenBLAS
unset OPENBLAS_CORETYPE OPENBLAS_L2_SIZE

if [ "$np" = 1 ]; then
    exec "$@" </dev/null
fi
# shellcheck disable=SC2086 # launcher and its options
exec ${QEP_MPIRUN:-mpirun --oversubscribe --bind-to none} -np "$np" "$@" </dev/null
