#!/bin/bash
# One run of qep_mpi under PBS (OpenPBS, PBS Pro), over as many jobs as it takes:
#   qsub -v QEP_CONFIG=my.ini jobs/pbs.sh
# The program itself stops in time: QEP_WALLTIME is the walltime below less a reserve. It then ends with exit code 75 and this
# script submits itself again. SPDX-License-Identifier: Apache-2.0
#PBS -N qep_mpi
#PBS -l select=2:ncpus=64:mpiprocs=8:ompthreads=8
#PBS -l walltime=12:00:00
#PBS -j oe
#PBS -r y

# QEP_PROGRAM, QEP_CONFIG, QEP_OPTIONS: what runs. QEP_MPIRUN: launcher. QEP_JOB: script of the next job (this one).
cd "${PBS_O_WORKDIR:-.}" || exit 1
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-8}"
ranks=${QEP_RANKS:-$(wc -l <"${PBS_NODEFILE:?not inside a PBS job}")}
launcher=${QEP_MPIRUN:-mpirun -np $ranks --map-by slot:PE=$OMP_NUM_THREADS --bind-to core}
# module load gcc openmpi ...

# qdel and qsig: passed on; a signal ends the wait, not the program.
ended=no
trap 'kill -USR1 $pid' USR1
trap 'ended=yes; kill -TERM $pid' TERM

# shellcheck disable=SC2086 # launcher and options are lists of words
$launcher "${QEP_PROGRAM:-qep_mpi}" "${QEP_CONFIG:-config.ini}" --walltime "${QEP_WALLTIME:-11:45:00}" ${QEP_OPTIONS:-} &
pid=$!
wait $pid
while kill -0 $pid 2>/dev/null; do wait $pid; done
wait $pid
code=$?

if [ $code = 75 ] && [ $ended = no ] && [ "${QEP_REQUEUE:-yes}" = yes ]; then
    qsub -V "${QEP_JOB:-$0}" # the copy that PBS runs, with its own head
fi
exit $code
