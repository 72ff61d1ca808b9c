#!/bin/sh
# The plan's work: every step that settings switch on or off is counted where it belongs, by its formula where that is short. SPDX-License-Identifier: Apache-2.0
. tests/run/lib.sh

forge model "$work/m" hidden=64 inter=96 heads=2 kv=2 head_dim=32 vocab=160 blocks=2
forge model "$work/experts" family=mixtral hidden=64 inter=96 heads=4 kv=2 head_dim=16 vocab=160 blocks=2
forge npy "$work/c.npy" i4 48x64 160
cd "$work" || exit 1
cat >case.ini <<'INI'
[model]
path = m
[output]
path = out
[calibration]
data = c.npy
samples = 32
validation = 16
[quantization]
group_size = 32
INI

# work PART OPTION...: the plan's TFLOP of that part
work_of() {
    part=$1
    shift
    run 1 case.ini --dry-run "$@"
    sed -n "s/.*work:.* $part \\([-+.0-9e]*\\).*/\\1/p; s/.*work: $part \\([-+.0-9e]*\\).*/\\1/p" "$work/log" | head -n 1
}
# more A B: both numbers, A above B; about A B: equal within 1 % (three digits are printed)
more() { awk -v a="$1" -v b="$2" 'BEGIN { exit !(a + 0 > 0 && b + 0 > 0 && a > b) }'; }
about() { awk -v a="$1" -v b="$2" 'BEGIN { d = a / b - 1; if (d < 0) d = -d; exit !(a + 0 > 0 && b + 0 > 0 && d <= 0.01) }'; }

plain='--set quantization.refit=0 --set quantization.sweeps=0 --set correction.method=none --set calibration.validation=0 --set quantization.final_norm=no'
# per block: d = 64 for q k v (192 rows), o (64), gate up (192); 96 for down (64); 2 blocks, 2048 tokens
flops=$(awk 'BEGIN { print 2 * (448 * 64 * 64 + 64 * 96 * 96) / 1e12 }')
# shellcheck disable=SC2086 # several options
check "GPTQ's loop: N d^2 = $flops" about "$(work_of quantization $plain)" "$flops"
flops=$(awk 'BEGIN { print 2 * 2048 * (3 * 64 * 64 + 96 * 96) / 1e12 }')
# shellcheck disable=SC2086
check "statistics: T d^2 = $flops" about "$(work_of statistics $plain)" "$flops"
flops=$(awk 'BEGIN { print 2 * (3 * 64 * 64 * 64 + 96 * 96 * 96) / 3 / 1e12 }')
# shellcheck disable=SC2086
check "factors: d^3 / 3 = $flops" about "$(work_of factors $plain)" "$flops"
# shellcheck disable=SC2086
base=$(work_of quantization $plain) some=$(work_of quantization $plain --set quantization.sweeps=1 --set quantization.refit=0)
check "a sweep, and the gradient before it: $base -> $some" about "$some" "$(awk -v b="$base" 'BEGIN { print b * 5 }')"
# shellcheck disable=SC2086
more_sweeps=$(work_of quantization $plain --set quantization.sweeps=2 --set quantization.refit=1)
check "more of them, and scales: $more_sweeps" more "$more_sweeps" "$some"
qep='--set quantization.final_norm=no --set calibration.validation=0 --set correction.residual=0'
# shellcheck disable=SC2086
check 'C counts' more "$(work_of statistics $qep)" "$(work_of statistics $plain)"
check 'Gamma counts' more "$(work_of statistics --set calibration.validation=0)" "$(work_of statistics --set calibration.validation=0 --set correction.residual=0)"
check 'held-out sums count' more "$(work_of statistics)" "$(work_of statistics --set calibration.validation=0)"
check 'fitting the correction counts' more "$(work_of correction --set correction.alpha=auto)" "$(work_of correction)"
check 'the final norm counts' more "$(work_of evaluation)" 1e-9
check '... and is not there when it is not fitted' [ "$(work_of evaluation --set quantization.final_norm=no)" = 0 ]
check 'experts: polishing counts' more "$(work_of quantization --set model.path=experts)" "$(work_of quantization --set model.path=experts --set quantization.sweeps=0 --set quantization.refit=0)"
for method in awq quip; do
    check "$method has work of its own" more "$(work_of quantization --set quantization.method=$method --set quantization.group_size=-1 --set quantization.clip=auto \
        --set output.format=dense --set correction.method=none)" 1e-6
done
finish
