#!/bin/sh
# AWQ and QuIP, the methods that transform a linear's inputs or outputs: what is stored, read back by its loader, gives the figures that the run
# measured; a stopped run goes on to the same result; what a format or a model cannot hold is refused or left out with the reason.
# The digest on several ranks: test_bits.sh. SPDX-License-Identifier: Apache-2.0
. tests/run/lib.sh

forge model "$work/heads" hidden=64 inter=96 heads=2 kv=2 head_dim=32 vocab=160 blocks=3 dtype=BF16
forge model "$work/grouped" hidden=64 inter=96 heads=4 kv=2 head_dim=32 vocab=160 blocks=2 dtype=F16
forge model "$work/biased" hidden=64 inter=96 heads=2 kv=2 head_dim=32 vocab=160 blocks=2 bias=1 dtype=F32
forge npy "$work/c.npy" i4 6x40 160
cd "$work" || exit 1
quickstart=$OLDPWD/tests/data/quickstart
cat >case.ini <<'INI'
[model]
path = heads
[output]
path = out
[calibration]
data = c.npy
samples = 6
[quantization]
method = awq
group_size = 32
[evaluation]
data = val:c.npy
[run]
compute = f32
INI
sed "s|^path = heads|path = $quickstart|; s|c.npy|$OLDPWD/tests/data/quickstart_tokens/calibration.npy|; /^samples/s/6/12/" case.ini >quickstart.ini

# quantized SUMMARY: its perplexity; original: that of the model it read
quantized() { json "$1/summary.json" evaluation.val.perplexity_quantized; }
original() { json "$1/summary.json" evaluation.val.perplexity_original; }

# near A B: equal to 1e-6
near() { awk -v a="$1" -v b="$2" 'BEGIN { d = a / b - 1; if (d < 0) d = -d; exit !(a + 0 > 0 && d <= 1e-6) }'; }

sound() { "$QEP_MPI" --check out >log 2>&1; }

# read_back TEXT INI OPTION...: quantizes; the output is sound, and evaluated on its own it has the perplexity that the run measured
read_back() {
    what=$1 ini=$2
    shift 2
    rm -rf out again
    run 2 "$ini" "$@"
    cp log first
    check "$what: finishes" [ "$code" = 0 ]
    check "$what: what is stored is sound" sound
    run 1 "$ini" "$@" --set model.path="$work/out" --set output.path=again --set quantization.method=none
    check "$what: stored $(original again), measured $(quantized out)" near "$(original again)" "$(quantized out)"
}
# column NUMBER MODULE: of modules.csv
column() { awk -F, -v m="$2" -v n="$1" '$1 ~ m { print $n; exit }' out/modules.csv; }

read_back 'awq, gptq v1' quickstart.ini --set quantization.bits=2
check 'awq: the norms are folded' awk -v r="$(column 22 0.self_attn.q_proj)" 'BEGIN { exit !(r > 0) }'
check 'awq: rows of up are divided' awk -F, '/down_proj/ && $22 > 0 { found = 1 } END { exit !found }' out/modules.csv
check 'awq: grouped-query attention: o is not scaled' [ -z "$(column 22 0.self_attn.o_proj)" ]
check 'awq: and the log says why' grep -q 'o_proj.*grouped-query attention' first
read_back 'awq, gptq v1, every head its own, bf16 norms' case.ini
check 'awq: o is scaled' [ -n "$(column 22 0.self_attn.o_proj)" ]
read_back 'awq, symmetric, no clip, one group' case.ini --set quantization.symmetric=yes --set quantization.clip=none --set quantization.group_size=-1
read_back 'awq, dense' quickstart.ini --set output.format=dense --set quantization.bits=2
check 'awq, dense: grouped-query attention or not, o is scaled' [ -n "$(column 22 0.self_attn.o_proj)" ]
read_back 'quip, dense' quickstart.ini --set output.format=dense --set quantization.method=quip --set quantization.group_size=-1 --set quantization.clip=none
check 'quip: no scales' [ -z "$(column 22 0.mlp.down_proj)" ]

rm -rf out
run 1 case.ini --set model.path=biased
check 'awq: a linear with a bias in front: finishes' [ "$code" = 0 ]
check 'awq: o is not scaled then' [ -z "$(column 22 0.self_attn.o_proj)" ]
check 'awq: and the log says so' said 'the linear that feeds it has a bias'
rm -rf out
run 1 case.ini --set 'override v.match=*.v_proj' --set 'override v.method=rtn' --set 'override g.match=*.up_proj' --set 'override g.method=rtn' \
    --set output.format=gptq
check 'awq: shared norm of mixed methods: finishes' [ "$code" = 0 ]
check 'awq: q is not scaled then' [ -z "$(column 22 0.self_attn.q_proj)" ]
check 'awq: and the log says so' said 'the linears that share its norm are not all awq with the same settings'

run 1 quickstart.ini --restart no --set output.overwrite=yes --set quantization.lm_head=yes
check 'awq: the head, whose norm is not folded: finishes' [ "$code" = 0 ]
check 'awq: and the log says so' said 'lm_head (and others like it): awq scales none of its input channels: the final norm is not folded'

for format in gptq gptq_v2 compressed-tensors awq; do
    rm -rf out
    run 1 case.ini --set quantization.method=quip --set quantization.group_size=-1 --set quantization.clip=none --set output.format=$format
    check "quip, $format: refused" [ "$code" = 1 ]
    check "quip, $format: with the reason" said 'codes are those of the rotated weights'
    check "quip, $format: nothing is written" [ ! -e out ]
done

forge model prime hidden=32 inter=32 heads=1 kv=1 head_dim=32 vocab=4099 blocks=1
run 1 case.ini --set model.path=prime --set output.format=dense --set quantization.method=quip --set quantization.group_size=-1 \
    --set quantization.clip=none --set quantization.lm_head=yes
check 'quip: a size with a large prime factor: refused' [ "$code" = 1 ]
check 'quip: and why' said 'lm_head: method = quip: a weight of [4099, 32] needs a dense orthogonal factor of side 4099'

# A run that is stopped after its first block and goes on elsewhere.
for settings in '' 'output.format=dense quantization.method=quip quantization.group_size=-1 quantization.clip=none'; do
    options=''
    for o in $settings; do options="$options --set $o"; done
    rm -rf out
    # shellcheck disable=SC2086 # several options
    run 1 case.ini $options
    want=$(digest out) files=$(tree out 'qep_mpi*' summary.json report.html modules.csv)
    rm -rf out
    export QEP_TEST_BLOCK_SLEEP=0.5
    # shellcheck disable=SC2086 # several options
    start 2 case.ini $options
    wait_until "said 'block 1/3 done'"
    touch out/STOP
    end_of "$job"
    unset QEP_TEST_BLOCK_SLEEP
    check "${settings:-awq}: stopped" [ "$code" = 75 ]
    # shellcheck disable=SC2086 # several options
    run 3 case.ini $options
    check "${settings:-awq}: goes on" [ "$code" = 0 ]
    check "${settings:-awq}: to the same digest" [ "$(digest out)" = "$want" ]
    check "${settings:-awq}: and the same files" [ "$(tree out 'qep_mpi*' summary.json report.html modules.csv)" = "$files" ]
done
finish
