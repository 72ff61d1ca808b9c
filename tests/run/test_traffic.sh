#!/bin/sh
# Bytes and messages of a run, counted on every rank and in every phase of the blocks, against the plan's formulas: least, mean and most of the ranks
# are the same numbers, where the order of the data decides (act_order) within 10 %, and where a router does within the plan's bounds. On 1 to 8 ranks,
# as one node and as nodes of unequal size; QEP_LONG=1: up to 32. SPDX-License-Identifier: Apache-2.0
. tests/run/lib.sh

ini=$work/run.ini
cat >"$ini" <<EOF
[model]
path = $PWD/tests/data/quickstart
[output]
path = out
overwrite = yes
[calibration]
data = $PWD/tests/data/quickstart_tokens/calibration.npy
samples = 10
validation = 5
[quantization]
bits = 3
group_size = 32
act_order = no
sweeps = 1
refit = 1
blocks = 0-1
EOF

# The sum of what the phases planned and measured, and the largest difference between the two in percent; write's other part is the copy of what
# stays as it is: one agreement. Input: "traffic.PHASE.planned.bytes.max 123" lines.
compare() {
    json "$work/out/summary.json" | sed -n 's/^traffic\.//p' | awk -v tolerance="$1" '
        { split($1, k, "."); v[k[1] " " k[3] " " k[4], k[2]] = $2; seen[k[1] " " k[3] " " k[4]] = 1 }
        END {
            for (key in seen) {
                split(key, k, " ")
                p = v[key, "planned"]; m = v[key, "measured"]
                if (k[1] == "write") m -= k[2] == "bytes" ? 4 : 1
                d = m - p; if (d < 0) d = -d
                n++; total += m
                if (!(d <= tolerance / 100 * m + 1e-9 * m)) { bad = 1; printf "# %s: planned %s, measured %s\n", key, p, m }
            }
            exit bad || n != 36 || !(total > 0)
        }'
}

# agrees NP RANKS-PER-NODE TOLERANCE OPTION...: a run and its comparison
agrees() {
    np=$1 per=$2 tolerance=$3
    shift 3
    QEP_RANKS_PER_NODE=$per run "$np" "$ini" --restart no "$@"
    check "np $np, $per per node $*: finishes" [ "$code" = 0 ]
    check "np $np, $per per node $*: planned is what was sent, within $tolerance %" compare "$tolerance"
}

for np in 1 2 3 4 5 6 7 8; do agrees "$np" 8 0; done
agrees 2 1 0
agrees 4 3 0 --set run.compute=f32 --set correction.residual=0 --set correction.alpha=auto
agrees 5 2 0 --set run.activations=recompute --set quantization.group_size=-1
agrees 8 3 0 --set quantization.sweeps=0
agrees 3 2 0 --set quantization.method=rescomp --set correction.method=none
agrees 3 2 0 --set quantization.method=rescomp --set correction.method=none --set quantization.compat=paper --set output.format=dense
agrees 3 2 0 --set quantization.method=foem --set correction.method=none --set quantization.compat=paper --set output.format=dense
agrees 3 1 0 --set quantization.method=rtn
agrees 6 4 10 --set quantization.act_order=yes

# Mixtures of experts. Every token to all experts: nothing depends on the router. 400 tokens are enough for all of them; 40 are too few for gate and up
# (64 columns); 20 for down (32 columns), too. Batched, and one after the other.
forge npy "$work/c.npy" i4 20x40 160
forge npy "$work/few.npy" i4 20x20 160
forge model "$work/all" family=qwen3_moe blocks=2 experts=5 top_k=5 seed=4
forge model "$work/some" family=mixtral blocks=2 inter=96 experts=9 top_k=2 seed=4
mixture() { # NP RANKS-PER-NODE MODEL OPTION...
    np=$1 per=$2 model=$3
    shift 3
    agrees "$np" "$per" 0 --set model.path="$work/$model" --set calibration.data="$work/c.npy" --set quantization.group_size=16 "$@"
}
for np in 1 2 3 4; do mixture "$np" 8 all; done
mixture 3 1 all --set calibration.samples=1
mixture 4 3 all --set calibration.samples=1 --set calibration.data="$work/few.npy" --set run.compute=f32
{ cat "$ini" && printf '[override e]\nmatch = *experts.1.*\nmethod = none\n'; } >"$work/less.ini"
ini=$work/less.ini
mixture 4 2 all --set calibration.validation=0 --set output.format=dense
ini=$work/run.ini
mixture 3 2 all --set solver.grid=3x1 --set calibration.samples=1
mixture 2 1 all --set solver.grid=2x1 --set calibration.samples=1 --set calibration.data="$work/few.npy" --set run.activations=recompute
mixture 4 2 all --set quantization.method=rtn --set correction.method=none

# Where the router chooses, all but the statistics are as planned, and these between the bounds.
bounded() {
    json "$work/out/summary.json" | sed -n 's/^traffic\.//p' | awk '
        { split($1, k, "."); v[k[1] " " k[3] " " k[4], k[2]] = $2; seen[k[1] " " k[3] " " k[4]] = 1 }
        END {
            for (key in seen) {
                split(key, k, " ")
                p = v[key, "planned"]; m = v[key, "measured"]; low = high = p
                if (k[1] == "write") m -= k[2] == "bytes" ? 4 : 1
                if (k[1] == "statistics") { low = v[key, "least"]; high = v[key, "most"]; n += low < high && low <= p && p <= high }
                if (!(low <= m + 1e-9 * m && m <= high + 1e-9 * m)) { bad = 1; printf "# %s: measured %s, not %s to %s\n", key, m, low, high }
            }
            exit bad || n != 6
        }'
}
while read -r np per options; do
    # shellcheck disable=SC2086 # several options
    QEP_RANKS_PER_NODE=$per run "$np" "$ini" --restart no --set model.path="$work/some" --set calibration.data="$work/c.npy" --set quantization.group_size=16 $options
    check "np $np, $per per node, experts chosen by the router $options: finishes" [ "$code" = 0 ]
    check "np $np, $per per node $options: what was sent lies between the bounds" bounded
done <<'CASES'
1 1
2 1
3 8
4 2
4 1 --set calibration.samples=2
3 2 --set solver.grid=3x1
CASES

QEP_PAR_CHUNK=4096
export QEP_PAR_CHUNK
agrees 4 2 0
mixture 4 2 all --set calibration.samples=1
unset QEP_PAR_CHUNK
if [ "${QEP_LONG:-0}" = 1 ]; then
    LIMIT=600
    for np in 12 16 24 32; do agrees "$np" 5 0; done
    agrees 32 32 10 --set quantization.act_order=yes
fi
finish
