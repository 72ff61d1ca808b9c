#!/bin/sh
# The result has the same bits for any number of ranks, nodes and threads: weights, tables and figures, in bf16 and f32.
# QEP_LONG=1: the complete matrix on ../shared/models/wiki5m (QEP_SHARED) too. SPDX-License-Identifier: Apache-2.0
. tests/run/lib.sh
LIMIT=120

data=$PWD/tests/data
# heads not as wide as hidden / heads, a head of its own, biases, fewer sequences than ranks; and sizes that nothing divides
forge model "$work/odd" hidden=160 inter=224 heads=3 kv=1 head_dim=32 vocab=192 blocks=2 bias=1 dtype=F32 shards=3
forge model "$work/prime" hidden=89 inter=131 heads=3 kv=1 head_dim=22 vocab=163 blocks=2 dtype=BF16
forge model "$work/wide" hidden=160 inter=320 heads=5 kv=5 head_dim=32 vocab=160 blocks=2 dtype=F16 tied=1
forge npy "$work/odd.npy" i8 5x37 160
forge npy "$work/odd_e.npy" u2 401 160
cd "$work" || exit 1
cat >odd.ini <<'INI'
[model]
path = odd
[output]
path = out
[calibration]
data = odd.npy
samples = 5
[quantization]
group_size = 32
[evaluation]
data = a:odd_e.npy, b:odd.npy
INI
cat >quickstart.ini <<INI
[model]
path = $data/quickstart
[output]
path = out
[calibration]
data = $data/quickstart_tokens/calibration.npy
samples = 12
selection = sequential
[evaluation]
data = v:$data/quickstart_tokens/validation.npy
tokens = 1024
INI
cat >wiki5m.ini <<INI
[model]
path = $shared/models/wiki5m
[output]
path = out
[calibration]
data = $shared/models/wiki5m_tokens/calibration.npy
[evaluation]
data = v:$shared/models/wiki5m_tokens/wikitext2_valid.npy
tokens = 8192
INI

# Everything that must be equal: the model's files, the figures of summary.json, modules.csv without its column of seconds.
result() {
    tree out 'qep_mpi.*' summary.json report.html modules.csv
    json out/summary.json | grep -Ev '^(seconds|memory|ranks|nodes|threads|peak_bytes|command|config|version|build|libraries|traffic|parts|one_rank)[. ]'
    cut -d, -f1-14,16-22 out/modules.csv
}

# one CONFIGURATION OPTIONS PLACES: runs on 1 rank, then on each place NP[tTHREADS][nRANKS-PER-NODE], and compares
one() {
    title="$1 $2"
    options=''
    for o in $2; do options="$options --set $o"; done
    for place in 1 $3; do
        np=${place%%[tn]*} threads=1 per_node=''
        case $place in *t*) threads=${place#*t} && threads=${threads%n*} ;; esac
        case $place in *n*) per_node=${place#*n} ;; esac
        rm -rf out
        [ -n "$per_node" ] && export QEP_RANKS_PER_NODE="$per_node"
        # shellcheck disable=SC2086 # several options
        run "$np" "$1.ini" --set run.threads="$threads" $options
        unset QEP_RANKS_PER_NODE
        if [ "$code" != 0 ]; then
            not_ok "$title, $place: exit code $code"
            return
        fi
        result >"result.$place"
        if [ "$place" != 1 ] && ! diff result.1 "result.$place" >log; then
            not_ok "$title: $place ranks give another result than 1"
            return
        fi
    done
    ok "$title: same on 1 $3"
}

while read -r config places options; do
    case $config in '' | '#'*) continue ;; esac
    one "$config" "$options" "$(echo "$places" | tr , ' ')"
done <<'TABLE'
# configuration, places (ranks, t: threads of each, n: ranks of a node), settings
quickstart 2,3,7,1t2        quantization.bits=3
quickstart 4n2,2t2          quantization.bits=4 quantization.group_size=-1
quickstart 3,4n1            quantization.bits=2 quantization.group_size=32 quantization.clip=hessian
quickstart 4,1t2            quantization.bits=3 run.compute=f32
quickstart 7n2,2t2          quantization.bits=2 quantization.group_size=-1 run.compute=f32 quantization.clip=none
quickstart 3,2              quantization.bits=4 quantization.group_size=32 run.compute=f32 quantization.symmetric=yes
quickstart 3n1,2            quantization.static_groups=no quantization.bits=4 quantization.group_size=32
quickstart 4                quantization.act_order=no quantization.bits=3 correction.method=none
quickstart 2t2,3            quantization.method=rtn quantization.bits=3 correction.alpha=0.5
quickstart 3                output.format=dense quantization.bits=2 run.activations=recompute
quickstart 3,2t2            correction.method=none quantization.bits=3 quantization.method=gptaq
quickstart 2n1,4,1t2        correction.method=none quantization.bits=2 quantization.method=rescomp quantization.compat=paper output.format=dense
quickstart 3                quantization.bits=3 quantization.method=foem quantization.group_size=32
quickstart 3,4n2,1t2        correction.method=none output.format=dense quantization.compat=paper quantization.bits=3 quantization.method=foem quantization.foem_alpha=.25 quantization.foem_beta=.01
odd        2,3n1,4n2,7,1t2  quantization.lm_head=yes
odd        4,7n2            run.compute=f32 quantization.lm_head=yes quantization.bits=8 quantization.static_groups=no
odd        3,2t2            quantization.symmetric=yes quantization.bits=2 quantization.clip=hessian solver.grid=2x1 solver.block=32
odd        4n1              quantization.group_size=-1 calibration.samples=1 calibration.length=37 correction.exclude=down_proj
odd        7,4n2            model.path=wide quantization.bits=3 solver.block=64
odd        5,3n2,2t2        model.path=prime output.format=dense quantization.group_size=-1 quantization.bits=3
odd        4,7n2            model.path=prime output.format=dense quantization.group_size=-1 run.compute=f32 quantization.clip=hessian
odd        7,4n2            correction.method=none quantization.method=rescomp quantization.bits=3
odd        5                correction.method=none quantization.method=foem quantization.foem_alpha=.25 quantization.foem_variant=next run.compute=f32
quickstart 3,1t2            quantization.method=awq quantization.bits=3 quantization.group_size=32
quickstart 4n2              output.format=dense quantization.method=quip quantization.bits=3 quantization.group_size=-1 quantization.clip=none
quickstart 3,4n2,2t2        output.format=dense quantization.compat=paper quantization.method=awq quantization.grid=free quantization.bits=3 quantization.group_size=32 correction.residual=0
odd        3                model.path=wide quantization.method=awq
odd        4,3n1            output.format=dense quantization.compat=paper quantization.method=awq quantization.grid=free correction.method=none
odd        4,2t2            model.path=prime output.format=dense quantization.method=awq quantization.group_size=-1 correction.method=none
odd        5,3n2,2t2        model.path=prime output.format=dense quantization.method=quip quantization.group_size=-1 quantization.clip=none
odd        3                output.format=dense quantization.method=quip quantization.group_size=-1 quantization.clip=none quantization.lm_head=yes run.compute=f32
odd        3                quantization.method=none
TABLE

if [ "${QEP_LONG:-0}" = 1 ] && [ -d "$shared/models/wiki5m" ]; then
    for compute in bf16 f32; do
        for bits in 2 3 4; do
            for group in -1 128; do
                one wiki5m "run.compute=$compute quantization.bits=$bits quantization.group_size=$group" '2 3 4 7 1t2 3t2 7n2'
            done
        done
    done
else
    skip 'the complete matrix on wiki5m' 'QEP_LONG=1 runs it, with QEP_SHARED'
fi
finish
