#!/bin/sh
# The settings files of config/paper run as they are: one of each method on the bundled model; with QEP_LONG=1 all of them on wiki5m
# (paper_table.sh, which prints the table). SPDX-License-Identifier: Apache-2.0
. tests/run/lib.sh

# ran NAME OPTION...: exit code 0, the file's own method and bits in every line of modules.csv, a finite KL divergence
ran() {
    name=$1
    shift
    rm -rf "$work/out"
    run 2 "config/paper/$name.ini" --set model.path=tests/data/quickstart --set output.path="$work/out" --set calibration.samples=4 \
        --set calibration.data=tests/data/quickstart_tokens/calibration.npy --set calibration.length=auto \
        --set evaluation.data=v:tests/data/quickstart_tokens/validation.npy --set evaluation.length=128 --set evaluation.tokens=512
    [ "$code" = 0 ] || return 1
    method=${name#qep-} bits=${name#*-int}
    awk -F, -v m="${method%%-*}" -v b="${bits%%-*}" -v q="${name%%-*}" 'NR > 1 && ($2 != (q == "qep" && $1 !~ /down_proj/ ? "qep+" : "") m || $3 != b) {
        exit 1 }' "$work/out/modules.csv" || return 1
    awk -v k="$(json "$work/out/summary.json" evaluation.v.kl_divergence)" 'BEGIN { exit !(k > 0 && k < 10) }'
}

for file in config/paper/*-int3.ini; do
    name=${file##*/} name=${name%.ini}
    case $name in gptq-actorder-mse-*) continue ;; esac # only switches of gptq
    check "config/paper/$name.ini, with few tokens" ran "$name"
done

if [ "${QEP_LONG:-0}" = 1 ] && [ -d "$shared/models/wiki5m" ]; then
    QEP_MPI="$QEP_MPI" sh tests/run/paper_table.sh >"$work/table"
    check 'all files of config/paper run on wiki5m' [ $? = 0 ]
    sed 's/^/# /' "$work/table"
    plain() { printf '%s\n' config/paper/*.ini | sed 's/.*paper.//; s/^qep-//' | sort -u | wc -l; }
    check 'none failed' sh -c "! grep -q failed '$work/table'"
    check 'a line for each' [ "$(grep -c '^  [a-z][a-z-]* .*[0-9]\.[0-9]' "$work/table")" = "$(plain)" ]
else
    skip 'all files of config/paper on wiki5m' 'QEP_LONG=1 runs them, with QEP_SHARED'
fi
finish
