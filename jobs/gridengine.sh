#!/bin/bash
# One run of qep_mpi under Grid Engine, over as many jobs as it takes:
#   qsub -v QEP_CONFIG=my.ini jobs/gridengine.sh
# At the soft limit s_rt Grid Engine sends USR1, the program writes a checkpoint and ends with exit code 75; exit code 99 of this
# script puts the job back into the queue. "mpi" is the site's parallel environment. SPDX-License-Identifier: Apache-2.0
#$ -N qep_mpi
#$ -S /bin/bash
#$ -cwd
#$ -V
#$ -j y
#$ -r y
#$ -notify
#$ -pe mpi 16
#$ -l s_rt=11:45:00
#$ -l h_rt=12:00:00

# QEP_PROGRAM, QEP_CONFIG, QEP_OPTIONS: what runs. QEP_MPIRUN: launcher.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
launcher=${QEP_MPIRUN:-mpirun -np ${NSLOTS:?not inside a Grid Engine job} --bind-to core}
# module load gcc openmpi ...

# USR1: the soft limit. USR2 (-notify): the kill comes next, as after qdel.
ended=no
trap 'kill -USR1 $pid' USR1
trap 'ended=yes; kill -TERM $pid' USR2 TERM

# shellcheck disable=SC2086 # launcher and options are lists of words
$launcher "${QEP_PROGRAM:-qep_mpi}" "${QEP_CONFIG:-config.ini}" ${QEP_OPTIONS:-} &
pid=$!
wait $pid
while kill -0 $pid 2>/dev/null; do wait $pid; done
wait $pid
code=$?

[ $code = 75 ] && [ $ended = no ] && exit 99
exit $code
