#!/bin/sh
# Bytes and messages of a run, counted on every rank and in every phase of the blocks, against the plan's formulas: least, mean and most of the ranks
# are the same numbers, where the order of the data decides (act_order) within 10 %. On 1 to 8 ranks, as one node and as nodes of unequal
# size; QEP_LONG=1: up to 32. SPDX-License-Identifier: Apache-2.0
. tests/run/lib.sh

cat >"$work/run.ini" <<EOF
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
    QEP_RANKS_PER_NODE=$per run "$np" "$work/run.ini" --restart no "$@"
    check "np $np, $per per node $*: finishes" [ "$code" = 0 ]
    check "np $np, $per per node $*: planned is what was sent, within $tolerance %" compare "$tolerance"
}

for np in 1 2 3 4 5 6 7 8; do agrees "$np" 8 0; done
agrees 2 1 0
agrees 4 3 0 --set run.compute=f32 --set correction.residual=0 --set correction.alpha=auto
agrees 5 2 0 --set run.activations=recompute --set quantization.group_size=-1
agrees 8 3 0 --set quantization.sweeps=0
agrees 3 2 0 --set quantization.method=rescomp --set correction.method=none
agrees 3 2 0 --set quantization.method=foem --set correction.method=none --set quantization.compat=paper --set output.format=dense
agrees 3 1 0 --set quantization.method=rtn
agrees 6 4 10 --set quantization.act_order=yes
QEP_PAR_CHUNK=4096
export QEP_PAR_CHUNK
agrees 4 2 0
unset QEP_PAR_CHUNK
if [ "${QEP_LONG:-0}" = 1 ]; then
    LIMIT=600
    for np in 12 16 24 32; do agrees "$np" 5 0; done
    agrees 32 32 10 --set quantization.act_order=yes
fi
finish
