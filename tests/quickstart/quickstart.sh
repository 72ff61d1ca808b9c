#!/bin/sh
# make quickstart: four ways to 3 bits on the bundled model, on 2 ranks, and a table of what each one costs.
# O: build folder. QEP_MPIRUN: launcher and options. SPDX-License-Identifier: Apache-2.0
set -u
cd "$(dirname "$0")/../.." || exit 1
O=${O:-build/release}
out=build/quickstart
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
unset OPENBLAS_CORETYPE OPENBLAS_L2_SIZE
: "${OMP_NUM_THREADS:=1}"
export OMP_NUM_THREADS

rm -rf "$out"
mkdir -p "$out" || exit 1
for job in rtn gptq qep default; do
    # shellcheck disable=SC2086 # launcher and its options
    set -- ${QEP_MPIRUN:-mpirun --oversubscribe --bind-to none} -np 2 "$O/qep_mpi" "config/quickstart/$job.ini"
    echo "$*"
    "$@" </dev/null >"$out/$job.out" 2>&1 || {
        code=$?
        tail -n 20 "$out/$job.out" >&2
        echo "quickstart: $job ended with exit code $code; its log is $out/$job/qep_mpi.log" >&2
        exit "$code"
    }
done

echo
awk '
    # The number behind "key": in one of our summary.json, whatever its layout.
    function figure(text, key,    at) {
        at = index(text, "\"" key "\"")
        if (!at) return "-"
        text = substr(text, at + length(key) + 2)
        sub(/^[ \t]*:[ \t]*/, "", text)
        match(text, /^[-+.0-9eE]+/)
        return RLENGTH > 0 ? substr(text, 1, RLENGTH) : "-"
    }
    function row(    name) {
        name = file
        sub(/\/summary\.json$/, "", name)
        sub(/^.*\//, "", name)
        printf "%-10s %5.2f %21.3f %21.3f %9.4f %9.1f\n", title[name], figure(text, "bits_per_weight"), figure(text, "perplexity_original"),
            figure(text, "perplexity_quantized"), figure(text, "kl_divergence"), figure(substr(text, index(text, "\"total\"")), "max")
    }
    BEGIN {
        title["rtn"] = "RTN"; title["gptq"] = "GPTQ"; title["qep"] = "QEP+GPTQ"; title["default"] = "default"
        printf "%-10s %5s %21s %21s %9s %9s\n", "method", "bits", "perplexity, original", "perplexity, quantized", "KL", "seconds"
    }
    FNR == 1 { if (file) row(); file = FILENAME; text = "" }
    { text = text $0 }
    END { row() }
' "$out/rtn/summary.json" "$out/gptq/summary.json" "$out/qep/summary.json" "$out/default/summary.json"
echo
echo "bits: of a quantized weight with its share of scales and zeros; perplexity and KL on 16256 held-out tokens."
echo "The quantized models are in $out/; the jobs in config/quickstart/."
