#!/bin/sh
# scaling.sh PROGRAM MAKE_MODEL [SHAPE:RANKS:RANKS-PER-NODE...]: the plan's model against SimGrid. For each shape of a model (7b, 70b, 405b) and number of
# ranks, the plan writes the calls of one block as SimGrid's time-independent traces, and smpirun replays them on a fat tree of nodes with the same
# latency, bandwidth and flops. Prints a line each: seconds of the block by the plan and by the simulation, efficiency against one rank by both, memory per
# node, seconds of the whole run. SPDX-License-Identifier: Apache-2.0
set -u
program=$1 make_model=$2
shift 2
[ $# -gt 0 ] || set -- 7b:64:8 7b:512:64 7b:4096:64 70b:64:8 70b:512:64 70b:4096:64 405b:64:8 405b:512:64 405b:4096:64
samples=${SAMPLES:-128} length=2048 flops=${FLOPS:-390G,190G,85G} # of a core with AVX-512 and bf16: reference of the text above the table
latency=${LATENCY:-2us} bandwidth=${BANDWIDTH:-12.5G}
unset OPENBLAS_CORETYPE OPENBLAS_L2_SIZE
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMP_NUM_THREADS=1

if ! command -v smpirun >/dev/null 2>&1; then
    echo "scaling.sh: no smpirun; make scaling installs Debian's libsimgrid-dev" >&2
    exit 77
fi
work=$(mktemp -d "${TMPDIR:-/tmp}/qep_scaling.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 130' HUP INT TERM

# platform NODES CORES: a fat tree with as many links up as down. A route between two nodes has 2 links for each level, together the latency.
platform() {
    if [ "$1" -gt 16 ]; then levels="2;8,$(($1 / 8));1,8;1,1" links=4; else levels="1;$1;1;1" links=2; fi
    cat <<EOF
<?xml version='1.0'?>
<!DOCTYPE platform SYSTEM "https://simgrid.org/simgrid.dtd">
<platform version="4.1">
  <cluster id="fat" prefix="node-" suffix="" radical="0-$(($1 - 1))" speed="1Gf" core="$2" bw="${bandwidth}Bps" lat="$(awk -v l="${latency%us}" -v n=$links 'BEGIN { print l / n }')us"
    topology="FAT_TREE" topo_parameters="$levels" loopback_bw="4GBps" loopback_lat="0.5us"/>
</platform>
EOF
}

replay() { # NODES CORES RANKS: simulated seconds
    platform "$1" "$2" >"$work/platform.xml"
    awk -v nodes="$1" -v cores="$2" 'BEGIN { for (k = 0; k < cores; k++) for (i = 0; i < nodes; i++) print "node-" i }' >"$work/hosts"
    awk -v n="$3" -v d="$work/trace" 'BEGIN { for (i = 0; i < n; i++) print d "/" i }' >"$work/traces"
    smpirun -np "$3" -platform "$work/platform.xml" -hostfile "$work/hosts" -replay "$work/traces" \
        --cfg=network/model:CM02 --cfg=network/crosstraffic:0 --cfg=smpi/bw-factor:1 --cfg=smpi/lat-factor:1 --cfg=contexts/stack-size:64 \
        --log=smpi_replay.thres:info >"$work/replay.log" 2>&1
    sed -n 's/.*Simulation time \([0-9.]*\).*/\1/p' "$work/replay.log"
}

printf '%-6s %6s %6s  %12s %12s  %10s %10s  %12s  %s\n' shape ranks nodes 'block: plan' simulated 'eff. plan' simulated 'GiB a node' 'whole run by the plan'
for job in "$@"; do
    shape=${job%%:*} rest=${job#*:}
    ranks=${rest%:*} per=${rest#*:}
    [ -d "$work/$shape" ] || "$make_model" "$work/$shape" --shape "$shape" --outline 1 --max-positions $length --tokens "$work/$shape/tokens.npy" \
        --samples "$samples" --length $length || exit 1
    cat >"$work/run.ini" <<EOF
[model]
path = $work/$shape
[output]
path = $work/out
[calibration]
data = $work/$shape/tokens.npy
samples = $samples
selection = sequential
validation = 0
EOF
    rm -rf "$work/trace"
    # shellcheck disable=SC2086 # more settings
    "$program" "$work/run.ini" --dry-run --ranks "$ranks" --ranks-per-node "$per" --network "$latency,$bandwidth" --flops "$flops" --trace "$work/trace" \
        ${SET:-} >"$work/plan.log" 2>&1 || { cat "$work/plan.log"; exit 1; }
    processes=$(find "$work/trace" -type f | wc -l) # one for each rank or, for very many, for each node
    simulated=$(replay $((ranks / per)) $((processes * per / ranks)) "$processes")
    [ -n "$simulated" ] || { tail -n 5 "$work/replay.log"; exit 1; }
    awk -v shape="$shape" -v ranks="$ranks" -v nodes=$((ranks / per)) -v simulated="$simulated" '
        /first block:/ { for (i = 1; i <= NF; i++) { if ($i == "block:") plan = $(i + 1); if ($i == "formulas,") one = $(i + 1) } }
        /memory per node:/ { for (i = 1; i <= NF; i++) if ($i == "node:") { memory = $(i + 1); unit = $(i + 2) } }
        / s\); efficiency/ { whole = $0; sub(/.*time /, "", whole); sub(/ \(.*/, "", whole) }
        END {
            if (unit ~ /MiB/) memory /= 1024
            if (unit ~ /TiB/) memory *= 1024
            printf "%-6s %6d %6d  %12.3f %12.3f  %8.1f %% %8.1f %%  %12.1f  %s\n", shape, ranks, nodes, plan, simulated, 100 * one / (ranks * plan),
                100 * one / (ranks * simulated), memory, whole
        }' "$work/plan.log"
done
