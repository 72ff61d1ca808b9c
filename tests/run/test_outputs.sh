#!/bin/sh
# Whose files are whose: a resumed or failing run never takes or spoils the result of another one; unequal ranks.
# SPDX-License-Identifier: Apache-2.0
. tests/run/lib.sh

forge model "$work/m" blocks=3
forge npy "$work/c.npy" i4 8x32 160
cd "$work" || exit 1
cat >case.ini <<'INI'
[model]
path = m
[output]
path = out
[calibration]
data = c.npy
samples = ${SAMPLES}
[quantization]
group_size = 32
INI
export SAMPLES=8

# stop_after_one OPTION...: a run that stops with a checkpoint after its first block
stop_after_one() {
    out=$1
    shift
    mkdir -p "$out"
    : >"$out/STOP"
    run 2 case.ini --set output.path="$out" "$@"
    [ "$code" = 75 ] || bail_out "STOP gave exit code $code"
}

# --- a checkpoint does not take over another result -------------------------------------------
run 1 case.ini --set output.path=other --set correction.alpha=0.5
check 'another result, the same shapes' [ "$code" = 0 ]
tree other >before
stop_after_one one --set checkpoint.path=ck
run 1 case.ini --set output.path=other --set checkpoint.path=ck
check 'a checkpoint resumed onto it: refused' [ "$code" = 6 ]
tree other >after
sed '/qep_mpi.log$/d; /qep_mpi.lock$/d' before >before.x
sed '/qep_mpi.log$/d; /qep_mpi.lock$/d' after >after.x
check '... and it stays as it was' cmp -s before.x after.x
run 1 --check other
check '... and is sound' [ "$code" = 0 ]
run 2 case.ini --set output.path=one --set checkpoint.path=ck
check 'the run itself goes on' [ "$code" = 0 ]

# --- the same shapes, other weights -----------------------------------------------------------
stop_after_one changed
forge poke m/model.safetensors model.layers.2.mlp.up_proj.weight 10 0000
run 1 case.ini --set output.path=changed
check 'one weight was changed since the checkpoint: refused' [ "$code" = 6 ]
check '... and the message says what differs' said 'model weights'
run 1 case.ini --set output.path=changed --restart no
check 'anew with the changed weights' [ "$code" = 0 ]

# --- a publish that fails leaves the former result --------------------------------------------
run 1 case.ini --set output.path=pub
good=$(digest pub)
k=1
while :; do
    QEP_FAULT=export.rename:$k run 1 case.ini --set output.path=pub --set output.overwrite=yes --set quantization.bits=3 --restart no
    [ "$code" != 0 ] || break
    check "rename $k fails: exit code 5" [ "$code" = 5 ]
    run 1 --check pub
    if [ "$code" != 0 ] || [ "$(digest pub)" != "$good" ]; then not_ok "rename $k: the former result is damaged"; fi
    run 1 case.ini --set output.path=pub --restart auto
    said 'nothing to do' || said 'belongs to another run' || not_ok "rename $k: the first command again: exit code $code"
    k=$((k + 1))
    [ "$k" -lt 40 ] || bail_out "no end of renames"
done
check "all $((k - 1)) renames were tried" [ "$k" -gt 5 ]
run 1 --check pub
check 'the new result is sound in the end' [ "$code" = 0 ]
check 'nothing of the former one is left' [ -z "$(find pub -name '*.old')" ]

# --- figures only ------------------------------------------------------------------------------
tree pub >before
run 1 case.ini --set output.path=pub --set quantization.method=none --set evaluation.data=v:c.npy
check 'method = none on a result of another run: refused' [ "$code" = 1 ]
tree pub >after
check '... and nothing is written' cmp -s before after

# --- unequal ranks ------------------------------------------------------------------------------
forge model "$work/big" blocks=1 hidden=64 inter=4096 heads=2 kv=1 head_dim=32
forge npy "$work/b.npy" i4 2x16 160
unset SAMPLES
# by env: the launchers have options of their own for this
uneven="$QEP_MPI case.ini --set model.path=big --set output.path=uneven --set calibration.data=b.npy"
# shellcheck disable=SC2086 # launcher and its options, words
timeout -k 5 "$LIMIT" $MPIRUN -np 1 env OMP_NUM_THREADS=1 SAMPLES=2 $uneven : -np 1 env OMP_NUM_THREADS=2 SAMPLES=1 $uneven >"$work/log" 2>&1 </dev/null
code=$?
check 'ranks with unequal threads and environments: finishes' [ "$code" = 0 ]
export SAMPLES=2
run 1 case.ini --set model.path=big --set output.path=even --set calibration.data=b.npy
check '... with the digest of one rank' [ "$(digest even)" = "$(digest uneven)" ]
finish
