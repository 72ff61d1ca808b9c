#!/bin/sh
# paper_table.sh [GLOB]: perplexity and KL divergence of every settings file in config/paper (or those whose names match GLOB) on the model wiki5m, with
# and without QEP side by side, next to what the published codes reach there (paper_published.txt, in brackets). About an hour of one core for all, half of it for AWQ's.
# Needs $QEP_SHARED/models/wiki5m and its tokens (default ../shared). QEP_MPI: the program. SPDX-License-Identifier: Apache-2.0
set -u
cd "$(dirname "$0")/../.." || exit 1
QEP_MPI=${QEP_MPI:-${O:-build/release}/qep_mpi}
shared=${QEP_SHARED:-../shared}
case $shared in /*) ;; *) shared=$PWD/$shared ;; esac
glob=${1:-*}
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
unset OPENBLAS_CORETYPE OPENBLAS_L2_SIZE
if [ ! -d "$shared/models/wiki5m" ]; then
    echo "paper_table.sh: no model in $shared/models/wiki5m; set QEP_SHARED" >&2
    exit 2
fi
work=$(mktemp -d "${TMPDIR:-/tmp}/qep_table.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 130' HUP INT TERM

# The figures of one file, "NAME PERPLEXITY KL" in $work/figures; the program's log on failure.
measure() {
    rm -rf "$work/out"
    "$QEP_MPI" "config/paper/$1.ini" --set model.path="$shared/models/wiki5m" --set output.path="$work/out" \
        --set calibration.data="$shared/models/wiki5m_tokens/calibration.npy" --set calibration.length=auto --set run.compute=f32 \
        --set evaluation.data="test:$shared/models/wiki5m_tokens/wikitext2_test.npy" --set evaluation.length=256 --set evaluation.tokens=20480 \
        --set checkpoint.every=never </dev/null >"$work/log" 2>&1 || {
        echo "paper_table.sh: config/paper/$1.ini failed:" >&2
        tail -n 5 "$work/log" >&2
        echo "$1 failed failed" >>"$work/figures"
        return 1
    }
    awk -v name="$1" 'function figure(key,    s) {
            if (!match(text, "\"" key "\": *[-+.0-9eE]+")) return "-"
            s = substr(text, RSTART, RLENGTH); sub(/.*: */, "", s); return s }
        { text = text $0 }
        END { print name, figure("perplexity_quantized"), figure("kl_divergence") }' "$work/out/summary.json" >>"$work/figures"
}

status=0
: >"$work/figures"
for file in config/paper/*.ini; do
    name=${file##*/} name=${name%.ini}
    # shellcheck disable=SC2254 # a pattern is what it is
    case $name in $glob) measure "$name" || status=1 ;; esac
    [ -t 2 ] && printf '\r%-40s' "$name" >&2
done
[ -t 2 ] && printf '\r%-40s\r' '' >&2

# One block for each number of bits and group size, one line for each method in it.
awk '
    function bare(name) { sub(/^qep-/, "", name); return name }
    function method_of(name) { name = bare(name); sub(/-int.*/, "", name); return name }
    function grid_of(name) { sub(/.*-int/, "", name); return name }
    function heading(grid,    part) {
        split(grid, part, "-g")
        return part[1] " bits, " (part[2] ? "groups of " part[2] : "one group per row")
    }
    # ours, and the published figure in brackets
    function cell(ours, theirs, digits,    text) {
        text = ours == "" ? "" : ours == "failed" ? "failed" : sprintf("%." digits "f", ours)
        return sprintf("%9s %-9s", text, theirs == "" ? "" : "(" theirs ")")
    }
    FNR == NR { if ($0 !~ /^#/) { published[$1, 1] = $2; published[$1, 2] = $3 } next }
    {
        ours[$1, 1] = $2; ours[$1, 2] = $3
        g = grid_of($1); m = method_of($1)
        if (!(g in grids)) { grids[g] = ++n_grids; grid[n_grids] = g }
        if (!((g, m) in seen)) { seen[g, m] = 1; method[g, ++count[g]] = m }
    }
    END {
        for (k = 1; k <= n_grids; k++) { # by bits, then from one group per row to small groups
            split(grid[k], part, "-g")
            rank[k] = part[1] * 100000 + (part[2] ? 10000 - part[2] : 0)
            order[k] = k
        }
        for (k = 2; k <= n_grids; k++)
            for (j = k; j > 1 && rank[order[j - 1]] > rank[order[j]]; j--) { t = order[j]; order[j] = order[j - 1]; order[j - 1] = t }
        for (k = 1; k <= n_grids; k++) {
            g = grid[order[k]]
            printf "%s%s\n", (k > 1 ? "\n" : ""), heading(g)
            printf "  %-33s%-20s%-20s  %-20s%s\n", "", "     perplexity", "     KL", "     QEP: perplexity", "     QEP: KL"
            for (i = 1; i <= count[g]; i++) {
                m = method[g, i]; plain = m "-int" g; q = "qep-" plain
                line = sprintf("  %-33s%s %s  %s %s", m, cell(ours[plain, 1], published[plain, 1], 3), cell(ours[plain, 2], published[plain, 2], 4),
                       cell(ours[q, 1], published[q, 1], 3), cell(ours[q, 2], published[q, 2], 4))
                sub(/ +$/, "", line)
                print line
            }
        }
    }' tests/run/paper_published.txt "$work/figures"
echo
echo "On wiki5m (original: perplexity 35.941), first 80 windows of WikiText-2 test; in brackets the published codes on the same model and tokens."
exit $status
