# block.awk -v type=f32|bf16 -v samples=N -v T=LENGTH -v wall=SECONDS -v processor=SECONDS -v cores=N BEFORE AFTER CONFIG SUMMARY LOG: the table
# of block.sh. SPDX-License-Identifier: Apache-2.0
# BEFORE, AFTER: ceilings of bench_parts; CONFIG: the model's config.json; SUMMARY, LOG: of the run; processor: its time on all processors.
#
# The minimum scheme, in flops (a multiply-add is 2). A linear group has N stacked rows and d columns; S sequences of T tokens; all groups but down are corrected:
#   forward      each of the two streams once: 2 S T N d, and attention with the causal half alone: 2 S T T (heads x size of a head)
#   statistics   H = X'X, one triangle: S T d^2; C = D'X where corrected: 2 S T d^2
#   correction   Cholesky factor of the damped H: d^3 / 3; W C (H + lambda I)^-1: 4 N d^2 (product and solve for the rows), or, where N > d,
#                2 d^3 for M = C (H + lambda I)^-1 and 2 N d^2 for W M
#   quantize     Cholesky factor of H for the loop over columns: d^3 / 3; the loop: N d^2
# Beyond the minimum stands what the errors of modules.csv cost, by corrected group, in f32: three quadratic forms, half of H each, 3 N d^2, in quantize; a
# fourth in bf16 where N > d, as the published code rounds the corrected weights. What else they need the correction leaves. A line counts the forms as
# wanted: the fraction is then that of the work that is done.
#
# Ceilings: the library's product in the type of the computation (attention, W M: f32 in both types), f64 for factors and solves; the arithmetic peak for the
# loop, which is no product. Seconds: means over the ranks.

FNR == 1 { file++ }
{ text[file] = text[file] $0 "\n" }

# The number at a/b/c in JSON text: each name is the first of its kind behind the one before.
function number(json, path,    names, n, i, at) {
    n = split(path, names, "/")
    for (i = 1; i <= n; i++) {
        at = index(json, "\"" names[i] "\":")
        if (!at) { printf "block.awk: no %s\n", path >"/dev/stderr"; exit 1 }
        json = substr(json, at + length(names[i]) + 3)
    }
    return json + 0
}

function ceilings(    i, n) {
    n = split("fma f32,gemm f32,gemm f64,gemm bf16", kinds, ",")
    printf "%-20s", "ceilings, GFLOP/s"
    for (i = 1; i <= n; i++) {
        before[i] = number(text[1], kinds[i]) / 1e9
        after[i] = number(text[2], kinds[i]) / 1e9
        ceiling[kinds[i]] = (before[i] + after[i]) / 2
        printf " %10s", kinds[i]
    }
    printf "\n  %-18s", "before"
    for (i = 1; i <= n; i++) printf " %10.1f", before[i]
    printf "\n  %-18s", "after"
    for (i = 1; i <= n; i++) printf " %10.1f", after[i]
    printf "\n\n"
}

# A part of a phase, of all blocks.
function add(phase, part, kind, flops) {
    if (!(phase in parts)) order[++phases] = phase
    name[phase, ++parts[phase]] = part
    ceiling_of[phase, parts[phase]] = kind
    tflop[phase, parts[phase]] = blocks * flops / 1e12
    total[phase] += blocks * flops / 1e12
    floor_s[phase] += blocks * flops / 1e9 / ceiling[kind]
}

# The shape of a linear group.
function group(N, d, corrected) {
    linears += N * d
    gram += d * d
    cholesky += d * d * d / 3
    loop += N * d * d
    if (!corrected) return
    cross += 2 * d * d
    record_forms += (N > d && type == "bf16" ? 4 : 3) * N * d * d
    cholesky_corrected += d * d * d / 3
    solves += N > d ? 2 * d * d * d : 4 * N * d * d
    if (N > d) products += 2 * N * d * d
}

function minimum(    c, hidden, inter, head, q, kv, tokens, fast) {
    c = text[3]
    hidden = number(c, "hidden_size"); inter = number(c, "intermediate_size"); head = number(c, "head_dim"); blocks = number(c, "num_hidden_layers")
    q = head * number(c, "num_attention_heads"); kv = head * number(c, "num_key_value_heads")
    group(q + 2 * kv, hidden, 1)
    group(hidden, q, 1)
    group(2 * inter, hidden, 1)
    group(hidden, inter, 0)
    tokens = samples * T
    fast = "gemm " type
    add("forward", "linears", fast, 2 * 2 * tokens * linears)
    add("forward", "attention", "gemm f32", 2 * 2 * tokens * T * q)
    add("statistics", "H", fast, tokens * gram)
    add("statistics", "C", fast, tokens * cross)
    add("correction", "factors", "gemm f64", cholesky_corrected)
    add("correction", "solves", "gemm f64", solves)
    add("correction", "W M", "gemm f32", products)
    add("quantize", "factors", "gemm f64", cholesky)
    add("quantize", "loop", "fma f32", loop)
}

function table(    i, k, p, s) {
    printf "%-20s %10s  %-10s %10s %10s %9s\n", "phase, part", "TFLOP", "ceiling", "floor s", "seconds", "fraction"
    for (i = 1; i <= phases; i++) {
        p = order[i]
        s = number(text[4], "seconds/" p "/mean")
        printf "%-20s %10.4g  %-10s %10.3f %10.3f %9.3f\n", p, total[p], "", floor_s[p], s, floor_s[p] / s
        for (k = 1; k <= parts[p]; k++)
            printf "  %-18s %10.4g  %-10s %10.3f\n", name[p, k], tflop[p, k], ceiling_of[p, k], 1e3 * tflop[p, k] / ceiling[ceiling_of[p, k]]
        all += total[p]; floors += floor_s[p]; spent += s
    }
    printf "%-20s %10.4g  %-10s %10.3f %10.3f %9.3f\n\n", "together", all, "", floors, spent, floors / spent
}

# The phases with the record of errors.
function recorded(    p, i, extra) {
    extra = blocks * record_forms / 1e9 / ceiling["gemm f32"]
    printf "with the record of errors (f32: forms %.3g TFLOP):", blocks * record_forms / 1e12
    for (i = 1; i <= phases; i++) {
        p = order[i]
        printf " %s %.3f,", p, (floor_s[p] + (p == "quantize") * extra) / number(text[4], "seconds/" p "/mean")
    }
    printf " together %.3f\n", (floors + extra) / spent
}

# Beside what the program's plan counts: where it does more than the minimum.
function compare(    plan) {
    printf "minimum: forward %.3g, statistics %.3g, factors %.3g, correction %.3g, quantization %.3g TFLOP\n", total["forward"], total["statistics"],
        tflop["correction", 1] + tflop["quantize", 1], tflop["correction", 2] + tflop["correction", 3], tflop["quantize", 2]
    plan = text[5]
    if (!sub(/.*work: /, "", plan)) { print "block.awk: no line of the work in the log" >"/dev/stderr"; exit 1 }
    sub(/ TFLOP.*/, " TFLOP", plan)
    printf "program: %s\n", plan
}

function outside(    n, i, others, s, rest) {
    rest = wall - spent
    printf "outside of these: %.1f %% of the run's %.3f s:", 100 * rest / wall, wall
    n = split("open,load,write,checkpoint,evaluation,publish", others, ",")
    for (i = 1; i <= n; i++) {
        s = number(text[4], "seconds/" others[i] "/mean")
        printf " %s %.3f,", others[i], s
        rest -= s
    }
    printf " start, end and what is not timed %.3f\n", rest
    printf "cores: at work or waiting for other threads and ranks %.1f %% of the time of %d\n", 100 * processor / (wall * cores), cores
}

END {
    ceilings()
    minimum()
    table()
    recorded()
    compare()
    outside()
}
