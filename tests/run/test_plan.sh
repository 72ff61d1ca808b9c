#!/bin/sh
# The plan for a machine that is not there: the same memory as the plan on as many ranks, time that follows the ranks, the network and the flops, idle
# ranks, and nothing written. SPDX-License-Identifier: Apache-2.0
. tests/run/lib.sh

cat >"$work/run.ini" <<EOF
[model]
path = $PWD/tests/data/quickstart
[output]
path = out
[calibration]
data = $PWD/tests/data/quickstart_tokens/calibration.npy
samples = 16
validation = 0
[quantization]
bits = 3
group_size = 32
[run]
activations = keep
EOF

# plan OPTION...: with fixed flops, so that the figures are the same everywhere
plan() { run 1 "$work/run.ini" --dry-run --flops 300G,200G,100G "$@"; }
seconds() { sed -n 's/.*^*time .*(\([0-9.]*\) s); efficiency.*/\1/p' "$work/log"; }
efficiency() { sed -n 's/.*efficiency \([0-9.]*\) % against one rank.*/\1/p' "$work/log"; }
# phase NAME COLUMN: 2 work, 3 uneven, 4 messages, 6 idle ranks
phase() { awk -v p="$1" -v c="$2" '$1 == p && NF >= 8 { print $c }' "$work/log"; }
less() { awk -v a="$1" -v b="$2" 'BEGIN { exit !(a != "" && b != "" && a + 0 < b + 0) }'; }

plan --ranks 1
check "one rank" [ "$code" = 0 ]
check "one rank is as fast as itself: $(efficiency) %" [ "$(efficiency)" = 100.0 ]
one=$(seconds)
check "one rank takes time: $one s" less 0 "$one"
check "nothing is written" said "dry run: nothing was written"
check "there is no output directory" [ ! -e "$work/out" ]

plan --ranks 4 --ranks-per-node 4
four=$(seconds)
check "4 ranks: $four s, $(efficiency) %" less "$(efficiency)" 100.1
grep -A 40 'memory per node' "$work/log" | sed -n 's/.*memory per node: \([^;]*\);.*/\1/p' >"$work/node"
run 4 "$work/run.ini" --dry-run
check "its memory is that of a plan on 4 ranks: $(cat "$work/node")" said "$(cat "$work/node") on its node"

plan --ranks 8 --ranks-per-node 2 --network 1us,1000G
check "8 ranks on a fast network" [ "$code" = 0 ]
fast=$(phase statistics 4)
plan --ranks 8 --ranks-per-node 2 --network 1us,0.1G
check "a slow network costs: statistics $fast -> $(phase statistics 4) s" less "$fast" "$(phase statistics 4)"
slow=$(seconds)
plan --ranks 8 --ranks-per-node 2 --network 10ms,0.1G
check "and so do slow messages: $slow -> $(seconds) s" less "$slow" "$(seconds)"
plan --ranks 24 --ranks-per-node 8
check "8 of 24 ranks have no sequence" [ "$(phase forward 6)" = 8 ]
check "and the log says so" said "16 calibration sequences for 24 ranks: 8 ranks have none"
plan --ranks 8 --storage 1G
check "storage: with the file system" said "with the file system"

plan --ranks 1 --set quantization.method=rtn --set quantization.sweeps=9 --set correction.method=none
check "a key that the method does not read gets a warning" said "[quantization] sweeps = 9: not read by method = rtn"
plan --ranks 1 --set quantization.sweeps=9
check "none when the method reads it" [ "$(grep -c 'not read by' "$work/log")" = 0 ]

# Traces for SimGrid: every rank's file begins and ends, all have the same reductions, and what one sends another receives, in order.
paired() {
    cat "$1"/* | awk -v ranks="$2" '
        $2 == "init" { begun++ } $2 == "finalize" { ended++ }
        $2 == "compute" && !($3 > 0) { bad = 1 }
        $2 == "allreduce" { reduced[$1] = reduced[$1] " " $3 }
        $2 == "send" || $2 == "isend" { sent[$1 " " $3] = sent[$1 " " $3] " " $5; n++ }
        $2 == "irecv" || $2 == "recv" { got[$3 " " $1] = got[$3 " " $1] " " $5 }
        END {
            for (k in sent) if (sent[k] != got[k]) bad = 1
            for (k in got) if (sent[k] != got[k]) bad = 1
            for (r in reduced) if (reduced[r] != reduced[0]) bad = 1
            exit bad || !(n > 0) || begun != ranks || ended != ranks
        }'
}
for shape in '4 4' '4 2' '9 3' '96 8'; do
    rm -rf "$work/trace"
    plan --ranks "${shape% *}" --ranks-per-node "${shape#* }" --trace "$work/trace"
    check "traces of $shape: every message has two ends" paired "$work/trace" "${shape% *}"
done
rm -rf "$work/trace"
plan --ranks 2048 --ranks-per-node 64 --trace "$work/trace"
check "traces of 2048 ranks: one for each of 32 nodes" paired "$work/trace" 32
plan --ranks 7 --ranks-per-node 4 --trace "$work/trace"
check "traces want full nodes" [ "$code" = 1 ]

# A mixture of experts: side by side on the ranks, or one after the other on all of them.
forge model "$work/mixture" family=qwen3_moe blocks=2 experts=16 top_k=3 seed=4
forge npy "$work/mixture.npy" i4 16x40 160
mixture() { plan --set model.path="$work/mixture" --set calibration.data="$work/mixture.npy" --set quantization.group_size=16 "$@"; }
grid() { if [ "$1" = auto ]; then echo "each expert on one of 4 ranks"; else echo "one after the other, each on all ranks"; fi; }
for grid in auto 4x1; do
    mixture --set solver.grid=$grid --ranks 4 --ranks-per-node 4 --trace "$work/trace.$grid"
    check "a mixture, grid $grid" [ "$code" = 0 ]
    check "it says what is taken for granted" said "spread evenly over the experts of a layer: 120 for each (3 of 16 experts a token)"
    check "and how experts are dealt with" said "$(grid $grid)"
    check "its messages have two ends" paired "$work/trace.$grid" 4
    sed -n 's/.*memory per node: \([^;]*\);.*/\1/p' "$work/log" >"$work/node"
    run 4 "$work/run.ini" --dry-run --set model.path="$work/mixture" --set calibration.data="$work/mixture.npy" --set quantization.group_size=16 \
        --set solver.grid=$grid
    check "its memory is that of a plan on 4 ranks: $(cat "$work/node")" said "$(cat "$work/node") on its node"
done
mixture --ranks 8 --ranks-per-node 1 --network 10ms,1G
batched=$(phase statistics 4)
mixture --ranks 8 --ranks-per-node 1 --network 10ms,1G --set solver.grid=8x1
check "batches cost fewer messages: $batched and $(phase statistics 4) s" less "$batched" "$(phase statistics 4)"

while read -r options; do
    # shellcheck disable=SC2086 # several options
    run 1 "$work/run.ini" $options
    check "refused: $options" [ "$code" = 1 ]
done <<'WRONG'
--ranks 4
--dry-run --ranks 0
--dry-run --ranks 4x
--dry-run --network 2us,12.5G
--dry-run --trace out
--dry-run --ranks 4 --network 2us
--dry-run --ranks 4 --network 2us,
--dry-run --ranks 4 --network 2xs,1G
--dry-run --ranks 4 --flops 1G,2G
--dry-run --ranks 4 --flops 1G,2G,3G,4G
--dry-run --ranks 4 --storage -1
WRONG
finish
