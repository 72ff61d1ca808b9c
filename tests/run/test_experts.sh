#!/bin/sh
# Many small experts: batches of them give the result that one after the other gives, on any number of ranks; those with few tokens are recorded;
# and the messages of a layer do not grow with their number. SPDX-License-Identifier: Apache-2.0
. tests/run/lib.sh
LIMIT=120

here=$PWD
cd "$work" || exit 1
forge npy tokens.npy i4 20x40 160
shape="family=qwen3_moe blocks=2 hidden=32 inter=64 heads=4 kv=4 head_dim=8 dtype=F32 seed=5"
# shellcheck disable=SC2086 # several options
forge model many $shape experts=128 top_k=8
# shellcheck disable=SC2086
forge model few $shape experts=8 top_k=8
cat >run.ini <<'INI'
[output]
path = out
overwrite = yes
[calibration]
data = tokens.npy
samples = 16
length = 40
validation = 0
[quantization]
bits = 4
group_size = 16
[run]
compute = f32
INI

# quantized NP MODEL OPTIONS...: a run, its digest in $digest, in $messages those that a rank sends at most, by phases
quantized() {
    np=$1 model=$2
    shift 2
    run "$np" run.ini --set model.path="$model" --restart no "$@"
    [ "$code" = 0 ] || { not_ok "$model on $np ranks, $*: exit code $code"; return 1; }
    digest=$(json out/summary.json digest)
    messages=$(json out/summary.json | awk '/^traffic\..*\.measured\.messages\.max / { n += $2 } END { print n + 0 }')
}

# module, tokens and fallback of every expert's linear
recorded() { grep '\.experts\.' out/modules.csv | cut -d, -f1,6,7,16; }

for options in '' '--set output.format=dense --set quantization.method=awq'; do
    # one after the other on one rank: the grid is given, so it holds for experts too
    # shellcheck disable=SC2086 # several options
    quantized 1 many --set solver.grid=1x1 $options || continue
    want=$digest
    recorded >want.csv
    for np in 1 2 3 4; do
        # shellcheck disable=SC2086
        quantized "$np" many $options || continue
        check "128 experts on $np ranks in batches $options: the digest of one after the other" [ "$digest" = "$want" ]
        recorded >got.csv
        check "np $np: the same tokens and fallbacks" cmp -s want.csv got.csv
        check "np $np: the plan says how they are dealt with" grep -q "each expert on one of $np ranks" log
    done
done
check "experts with few tokens are recorded, the others are not" \
    awk -F, '{ short = $3 < $2; if (short != $4) bad = 1; n[short]++ } END { exit bad || !(n[0] > 0 && n[1] > 0) }' want.csv
check "every expert's linear is recorded" [ "$(wc -l <want.csv)" = 384 ]

# 40 tokens, 8 experts each: some of 128 get none.
quantized 1 many --set calibration.samples=1 --set solver.grid=1x1
want=$digest
recorded >want.csv
cp out/modules.csv none.csv
quantized 3 many --set calibration.samples=1
recorded >got.csv
check "experts without a token: the digest and the records of one after the other" sh -c "[ -n '$want' ] && [ '$digest' = '$want' ] && cmp -s want.csv got.csv"
check "they are recorded: the fallback; no error before where H is borrowed, none after where there are no tokens" awk -F, '
    NR == 1 { for (i = 1; i <= NF; i++) at[$i] = i; next }
    $1 ~ /experts/ { none = $(at["tokens"]) == 0; n[none]++
        borrows = $(at["tokens"]) < $(at["cols"])
        if (borrows != $(at["fallback"]) || borrows != ($(at["error_before"]) == "") || none != ($(at["error_after"]) == "")) bad = 1 }
    END { exit bad || !(n[0] > 0 && n[1] > 0) }' none.csv

quantized 2 many --set solver.grid=2x1
check "one after the other on two ranks: the same digest" [ -n "$digest" ]
one_by_one=$messages
quantized 2 few --set solver.grid=2x1
one_by_one_few=$messages
quantized 2 few
few=$messages
quantized 2 many
echo "# messages: 8 and 128 experts one after the other $one_by_one_few and $one_by_one, in batches $few and $messages" >&2
check "messages do not grow with the experts ($few for 8, $messages for 128)" [ "$messages" -lt $((2 * few)) ]
check "one after the other they do ($one_by_one_few, $one_by_one)" [ "$one_by_one" -gt $((4 * one_by_one_few)) ]
check "as if on separate nodes: the same digest" sh -c "QEP_RANKS_PER_NODE=1 $MPIRUN -np 3 '$QEP_MPI' run.ini --set model.path=many --restart no >log 2>&1 && [ \"\$(sed -n 's/.*\"digest\": \"\\(.*\\)\".*/\\1/p' out/summary.json | tail -n 1)\" = '$digest' ]"

# The tokens of an expert are those of the quantized stream's router, in both streams: its figures, from the dense output, by plain loops.
(
    cd "$here" || exit 1
    # shellcheck disable=SC2086 # several libraries
    ${MPICC:-mpicc} -std=c11 -D_POSIX_C_SOURCE=200809L -O1 -fopenmp -Iinclude -Itests/support -o "$work/paired" tests/run/tools/paired.c -Wl,--start-group \
        "$O"/lib/libqep_safetensors.a "$O"/lib/libqep_tensor.a "$O"/lib/libqep_base.a -Wl,--end-group -lcmocka -ljansson -lm
) || bail_out 'tests/run/tools/paired.c does not compile'
forge model mixtral family=mixtral blocks=2 hidden=32 inter=32 heads=4 kv=2 head_dim=8 dtype=F32 seed=6 experts=5 top_k=2
for np in 1 2; do
    quantized "$np" mixtral --set output.format=dense --set quantization.bits=2 --set calibration.samples=20 --set calibration.selection=sequential
    ./paired mixtral out tokens.npy 40 >want.txt
    check "np $np: tokens and errors of every expert pair the streams by the quantized one's router" awk '
        FILENAME == "want.txt" { if ($1 == "differ") differ = $2; else { tokens[$1] = $2; error[$1] = $3 } next }
        FNR == 1 { n = split($0, name, ","); for (i = 1; i <= n; i++) at[name[i]] = i; next }
        { split($0, v, ",") }
        v[1] in tokens { d = v[at["error_after"]] / error[v[1]] - 1; if (!(v[at["tokens"]] == tokens[v[1]] && d < 1e-5 && d > -1e-5)) bad = 1; seen++ }
        END { exit bad || seen != 30 || !(differ > 0) }' want.txt out/modules.csv
done

# The experts of a layer in two tensors: the weights are the same, so all else is.
for family in qwen3_moe mixtral; do
    same="family=$family blocks=2 hidden=64 inter=96 heads=4 kv=2 head_dim=16 dtype=BF16 seed=9 experts=5"
    # shellcheck disable=SC2086 # several options
    forge model parts $same
    # shellcheck disable=SC2086
    forge model fused $same fused=1
    check "$family: the fused model has no expert of its own" sh -c "! '$FORGE' header fused/model.safetensors | grep -q 'experts\.0\.'"
    quantized 1 parts --set evaluation.data="rest:$work/tokens.npy"
    want=$digest figures=$(json out/summary.json | grep '^evaluation')
    "$FORGE" header out/model.safetensors | grep -o '"model[^"]*"' | sort >want.names
    for np in 1 2 3; do
        quantized "$np" fused --set evaluation.data="rest:$work/tokens.npy"
        check "$family, fused experts on $np ranks: the digest of experts one by one" [ "$digest" = "$want" ]
        check "and the perplexities" [ "$(json out/summary.json | grep '^evaluation')" = "$figures" ]
    done
    "$FORGE" header out/model.safetensors | grep -o '"model[^"]*"' | sort >got.names
    check "$family: written one by one" sh -c "[ -s want.names ] && cmp -s want.names got.names"
    "$QEP_MPI" --check out >log 2>&1
    check "$family: read back" [ $? = 0 ]
done
# refused NAME SED TEXT: the fused Mixtral with another header
refused() {
    cp -r fused other
    "$FORGE" header fused/model.safetensors | sed "$2" | "$FORGE" rehead other/model.safetensors
    run 1 run.ini --set model.path=other --restart no
    check "$1: refused" [ "$code" = 2 ]
    check "$1: the message says why" grep -q "$3" log
    rm -rf other
}
refused "another order of axes" 's/\[5, *192, *64\]/[5,64,192]/g' 'gate_up_proj" holds the experts of a layer in a layout that is not known; supported are floats \[5, 192, 64\]'
refused "the names of memory" 's/block_sparse_moe/mlp/g' 'block_sparse_moe.experts; this file has the names that transformers 5 uses'
refused "half of it" 's/block_sparse_moe.experts.down_proj/block_sparse_moe.experts.down/g' 'experts.0.w2.weight'
finish
