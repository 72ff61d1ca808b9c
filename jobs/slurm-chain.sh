#!/bin/bash
# Where jobs may not be requeued: N jobs, each waiting for the end of the one before.
#   QEP_CONFIG=my.ini jobs/slurm-chain.sh N [sbatch options]
# Each goes on from the checkpoint of the last; those behind the one that finishes find nothing to do and end at once.
# QEP_JOB: the job script. SPDX-License-Identifier: Apache-2.0
set -eu
n=${1:?usage: slurm-chain.sh N [sbatch options]}
shift
job=${QEP_JOB:-$(dirname "$0")/slurm.sh}
export QEP_REQUEUE=no
after=()
for ((i = 1; i <= n; i++)); do
    id=$(sbatch --parsable "${after[@]}" "$@" "$job")
    id=${id%%;*}
    echo "job $i of $n: $id"
    after=("--dependency=afterany:$id")
done
