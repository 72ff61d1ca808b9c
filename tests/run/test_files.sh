#!/bin/sh
# What a user and other programs find: --help, --version, --dry-run, the files of a finished run and what is in them, precedence of
# settings, runs without mpirun. SPDX-License-Identifier: Apache-2.0
. tests/run/lib.sh

forge model "$work/m" blocks=2 shards=2
forge npy "$work/c.npy" i4 10x32 160
forge npy "$work/e.npy" u2 300 160
mkdir "$work/there"
cd "$work" || exit 1
echo '{"made": "for tests"}' >m/tokenizer.json
echo 'a template' >m/chat_template.jinja
cat >there/case.ini <<'INI'
; relative paths are relative to this file
[model]
path = ../m
[output]
path = ../${QEP_TEST_OUT}   # from the environment
[calibration]
data = ../c.npy
samples = 8
[quantization]
bits = 3
group_size = 32
[evaluation]
data = val:../e.npy
[override first]
match = model.layers.0.*
bits = 4
INI
export QEP_TEST_OUT=out

# --- without a configuration ---------------------------------------------------------------------

run 1 --help
check '--help: exit code 0' [ "$code" = 0 ]
check '--help shows the usage' said 'usage: mpirun -np P qep_mpi config.ini'
for word in --set --restart --walltime --dry-run --check --report --version quantization.bits correction.alpha checkpoint.every USR1 75; do
    check "--help tells of $word" said "$word"
done
run 2 --help
check '--help is printed once on 2 ranks' [ "$(grep -c '^usage:' log)" = 1 ]
run 1 --version
check '--version: exit code 0' [ "$code" = 0 ]
check '--version names the program' grep -q '^qep_mpi [0-9]*\.[0-9]*\.[0-9]* ' log
check '--version names the libraries' grep -q HDF5 log

# --- a run ------------------------------------------------------------------------------------------

run 2 there/case.ini --dry-run
check '--dry-run: exit code 0' [ "$code" = 0 ]
for word in 'memory:' 'streams.fp' 'work:' 'disk:' 'nothing was written'; do check "--dry-run tells of $word" said "$word"; done
check '--dry-run writes nothing' [ ! -e out ]

run 2 there/case.ini --set quantization.damping=0.02 --walltime 1:00:00
check 'the run: exit code 0' [ "$code" = 0 ]
for f in config.json quantize_config.json model.safetensors tokenizer.json chat_template.jinja qep_mpi.log qep_mpi.ini modules.csv summary.json report.html; do
    check "$f is there" [ -s "out/$f" ]
done
check 'side files are copied byte by byte' cmp -s m/tokenizer.json out/tokenizer.json
check 'no index beside a single file' [ ! -e out/model.safetensors.index.json ]
check 'nothing is left behind' no_leftovers out
check 'the log file has what was printed' grep -q 'finished normally' out/qep_mpi.log
check 'the log ends with how it ended' said 'finished normally'

# --- report.html and --report -------------------------------------------------------------------------

check 'report.html holds the figure of the evaluation' grep -q '<td>val</td>' out/report.html
check 'report.html asks nothing of a network' [ "$(grep -c 'http' out/report.html)" = 0 ]
run 2 --report out
check '--report: exit code 0' [ "$code" = 0 ]
for word in val mlp.down_proj forward digest; do check "--report shows $word" said "$word"; done
check '--report prints once on 2 ranks' [ "$(grep -c '^digest' log)" = 1 ]
run 1 --report there
check '--report of another directory: exit code 2' [ "$code" = 2 ]
check '... says what is missing' said 'there/summary.json'

# --- summary.json -------------------------------------------------------------------------------------

value() { json out/summary.json "$1"; }
is() { check "summary.json: $1 = $2" [ "$(value "$1")" = "$2" ]; }
is ranks 2
is threads 1
is modules 14
is evaluation.val.tokens 279
is error_growth.blocks.1 1
for key in version command config peak_bytes bits_per_weight evaluation.val.perplexity_original evaluation.val.perplexity_quantized \
    evaluation.val.kl_divergence seconds.forward.min seconds.forward.mean seconds.forward.max seconds.checkpoint.max \
    error_growth.calibration.1 error_growth.validation.1 error_growth.evaluation.1; do
    check "summary.json has $key" [ -n "$(value "$key")" ]
done
for key in parts.open.scan parts.forward.linears parts.forward.attention parts.quantize.factor parts.quantize.loop parts.write.files parts.publish.checksums \
    one_rank.publish one_rank.files one_rank.csv one_rank.checkpoint one_rank.report one_rank.norms; do
    check "summary.json has seconds of $key" [ -n "$(value "$key")" ]
done
json out/summary.json >all
check 'summary.json: the parts of a phase take no longer than it' awk '/^parts\./ { split($1, n, "."); sum[n[2]] += $2 }
    /^seconds\..*\.mean / { split($1, n, "."); whole[n[2]] = $2 }
    END { for (p in sum) { phases++; if (!(sum[p] <= whole[p] * 1.000001 + 1e-9)) exit 1 } exit !(phases >= 7) }' all
check 'summary.json: what one rank does alone takes less than the run' awk '/^one_rank\./ { if (!($2 >= 0)) exit 1; sum += $2 }
    /^seconds\.total\.max / { whole = $2 } END { exit !(sum > 0 && sum < whole) }' all
check 'report.html tells of it' grep -q 'What one rank does alone.*' out/report.html
check 'summary.json: the digest is 32 hexadecimal digits' [ "$(value digest | tr 0-9a-f '[0*]')" = 00000000000000000000000000000000 ]
check 'summary.json ends with a newline' [ -z "$(tail -c 1 out/summary.json)" ]
log_digest=$(sed -n 's/.*digest \([0-9a-f]*\)$/\1/p' out/qep_mpi.log | tail -n 1)
check 'the log tells the same digest' [ "$log_digest" = "$(value digest)" ]

# --- modules.csv ---------------------------------------------------------------------------------------

columns=module,method,bits,group_size,rows,cols,tokens,alpha,correction_damping,damping,attempts,error_before,error_after,max_scale,seconds,fallback,residual,error_corrected,error_before_heldout,error_corrected_heldout,error_after_heldout,scale_ratio,error_uncorrected,error_uncorrected_heldout
check 'modules.csv: the columns' [ "$(head -n 1 out/modules.csv)" = "$columns" ]
check 'modules.csv: a row for each linear' [ "$(wc -l <out/modules.csv)" = 15 ]
check 'modules.csv: every row has all fields' awk -F, 'NF != 24 { exit 1 }' out/modules.csv
check 'modules.csv: errors are figures, the correction helps' awk -F, 'NR > 1 && !($12 > 0 && $13 > 0) { exit 1 }
    NR > 1 { before += $12; after += $13 } END { exit !(after < before) }' out/modules.csv
check 'modules.csv: the override holds for its block' awk -F, 'NR > 1 && $3 != ($1 ~ /layers.0/ ? 4 : 3) { exit 1 }' out/modules.csv
check 'modules.csv: --set wins over the default' awk -F, 'NR > 1 && $10 != 0.02 { exit 1 }' out/modules.csv

# --- qep_mpi.ini: the same run again -----------------------------------------------------------------

check 'qep_mpi.ini holds the setting of the command line' grep -q 'damping = 0.02' out/qep_mpi.ini
run 1 out/qep_mpi.ini
check 'qep_mpi.ini as input is this very run: nothing to do' said 'nothing to do'
unset QEP_TEST_OUT
run 3 out/qep_mpi.ini --set output.path=again --set run.walltime=none
check 'qep_mpi.ini with another output: exit code 0' [ "$code" = 0 ]
check 'qep_mpi.ini with another output: the same digest' [ "$(digest again)" = "$(digest out)" ]
check 'qep_mpi.ini with another output: the same model' cmp -s out/model.safetensors again/model.safetensors

# --- shards, dense, none ----------------------------------------------------------------------------

export QEP_TEST_OUT=out2
run 2 there/case.ini --set quantization.damping=0.02 --set output.shard_size=50K
check 'small shards: exit code 0' [ "$code" = 0 ]
check 'small shards: an index' [ -s out2/model.safetensors.index.json ]
check 'small shards: several files' [ "$(find out2 -name 'model-*-of-*.safetensors' | wc -l)" -gt 1 ]
check 'small shards: the same digest' [ "$(digest out2)" = "$(digest out)" ]
run 3 --check out2
check 'small shards: --check' [ "$code" = 0 ]

export QEP_TEST_OUT=out3
run 2 there/case.ini --set output.format=dense
check 'dense: exit code 0' [ "$code" = 0 ]
check 'dense: no quantization_config' sh -c '! grep -q quantization_config out3/config.json'
check 'dense: as large as the model' [ "$(find out3 -name '*.safetensors' -exec cat {} + | wc -c)" -ge "$(find m -name '*.safetensors' -exec cat {} + | wc -c | awk '{ print $1 - 4096 }')" ]
run 1 --check out3
check 'dense: --check' [ "$code" = 0 ]

# the dense result read as a model by method = none: the figures of what was stored
printf '[model]\npath = out3\n[output]\npath = none\n[quantization]\nmethod = none\n[evaluation]\ndata = val:e.npy\nlength = 32\n' >none.ini
run 2 none.ini
check 'none: exit code 0' [ "$code" = 0 ]
check 'none: no weights are written' [ -z "$(find none -name '*.safetensors*')" ]
stored=$(json none/summary.json evaluation.val.perplexity_original)
said_before=$(json out3/summary.json evaluation.val.perplexity_quantized)
check "none: the stored model's perplexity $stored is the one that was reported, $said_before" \
    awk -v a="$stored" -v b="$said_before" 'BEGIN { exit !(a > 0 && (a - b) / b < 1e-9 && (b - a) / b < 1e-9) }'

# --- rounding to nearest asks for no sequences at all ----------------------------------------------
printf '[model]\npath = m\n[output]\npath = plain\n[quantization]\nmethod = rtn\ngroup_size = 32\n[correction]\nmethod = none\n' >plain.ini
run 2 plain.ini
check 'rtn without any data: exit code 0' [ "$code" = 0 ]
run 1 --check plain
check '... and the result is sound' [ "$code" = 0 ]
finish
