#!/bin/bash
# One run of qep_mpi under LSF, over as many jobs as it takes:  QEP_CONFIG=my.ini bsub < jobs/lsf.sh
# Ten minutes before the limit LSF sends USR1 (-wa, -wt), the program writes a checkpoint and ends with exit code 75, and LSF
# puts the job back into the queue for that exit code (-Q). SPDX-License-Identifier: Apache-2.0
#BSUB -J qep_mpi
#BSUB -n 16
#BSUB -R "span[ptile=8] affinity[core(8)]"
#BSUB -W 12:00
#BSUB -wa USR1
#BSUB -wt 10
#BSUB -Q "75"
#BSUB -r
#BSUB -o qep_mpi-%J.out

# QEP_PROGRAM, QEP_CONFIG, QEP_OPTIONS: what runs. QEP_MPIRUN: launcher.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-8}"
launcher=${QEP_MPIRUN:-mpirun --map-by slot:PE=$OMP_NUM_THREADS --bind-to core}
# module load gcc openmpi ...

# LSF may signal this script alone or the whole group; the program does not mind getting a signal twice.
ended=no
trap 'kill -USR1 $pid' USR1
trap 'ended=yes; kill -TERM $pid' TERM INT

# shellcheck disable=SC2086 # launcher and options are lists of words
$launcher "${QEP_PROGRAM:-qep_mpi}" "${QEP_CONFIG:-config.ini}" ${QEP_OPTIONS:-} &
pid=$!
wait $pid
while kill -0 $pid 2>/dev/null; do wait $pid; done
wait $pid
code=$?

# After bkill the job must not come back.
[ $code = 75 ] && [ $ended = yes ] && code=143
exit $code
