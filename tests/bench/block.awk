# block.awk -v type=f32|bf16 -v samples=N -v T=LENGTH -v wall=SECONDS -v processor=SECONDS -v system_time=SECONDS -v cores=N BEFORE AFTER CONFIG SUMMARY LOG: the table
# of block.sh. SPDX-License-Identifier: Apache-2.0
# BEFORE, AFTER: ceilings of bench_parts; CONFIG: the model's config.json; SUMMARY, LOG: of the run; processor: its time on all processors; system_time: that
# part of it in the system's kernel.
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
# Seconds of a part are the program's own (parts of summary.json); those without a floor, and what of a phase is in no part, stand below.
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

# Seconds of the parts of a phase, from the summary's "parts": seconds_of[phase, part], and their names in measured[phase, 1 ..].
function read_parts(phase,    json, i, n, fields, name, at) {
    json = text[4]
    if (!sub(/.*"parts":[^{]*\{/, "", json)) { print "block.awk: no parts" >"/dev/stderr"; exit 1 }
    sub(/\}[ \n\t]*\}.*/, "", json)
    at = index(json, "\"" phase "\":")
    if (!at) return
    json = substr(json, at + length(phase) + 3)
    sub(/\}.*/, "", json)
    n = split(json, fields, ",")
    for (i = 1; i <= n; i++) {
        name = fields[i]
        sub(/^[^"]*"/, "", name)
        sub(/".*/, "", name)
        measured[phase, ++n_measured[phase]] = name
        sub(/.*:/, "", fields[i])
        seconds_of[phase, name] = fields[i] + 0
        in_parts[phase] += fields[i]
    }
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

# A part of a phase, of all blocks. timed: the name of the program's own part that it is timed in.
function add(phase, part, timed, kind, flops) {
    if (!(phase in parts)) { order[++phases] = phase; read_parts(phase) }
    name[phase, ++parts[phase]] = part
    timed_as[phase, parts[phase]] = timed
    floor_of[phase, timed] += blocks * flops / 1e9 / ceiling[kind]
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
    add("forward", "linears", "linears", fast, 2 * 2 * tokens * linears)
    add("forward", "attention", "attention", "gemm f32", 2 * 2 * tokens * T * q)
    add("statistics", "H", "products", fast, tokens * gram)
    add("statistics", "C", "products", fast, tokens * cross)
    add("correction", "factors", "factor", "gemm f64", cholesky_corrected)
    add("correction", "solves", "solves", "gemm f64", solves)
    add("correction", "W M", "products", "gemm f32", products)
    add("quantize", "factors", "factor", "gemm f64", cholesky)
    add("quantize", "loop", "loop", "fma f32", loop)
}

# What is timed of a part beside its floor; two parts that are timed together stand beside the first.
function row(part, tera, kind, floor, spent,    share, line) {
    if (floor > 0 && spent > 0) share = sprintf("%.3f", floor / spent)
    if (tera != "") tera = sprintf("%.4g", tera)
    if (floor != "") floor = sprintf("%.3f", floor)
    spent = spent == "" ? "-" : sprintf("%.3f", spent)
    line = sprintf("  %-18s %10s  %-10s %10s %10s %9s", part, tera, kind, floor, spent, share)
    sub(/ +$/, "", line)
    print line
}

function table(    i, k, p, s, timed, floor) {
    extras()
    printf "%-20s %10s  %-10s %10s %10s %9s\n", "phase, part", "TFLOP", "ceiling", "floor s", "seconds", "fraction"
    for (i = 1; i <= phases; i++) {
        p = order[i]
        s = number(text[4], "seconds/" p "/mean")
        printf "%-20s %10.4g  %-10s %10.3f %10.3f %9.3f\n", p, total[p], "", floor_s[p], s, floor_s[p] / s
        for (k = 1; k <= parts[p]; k++) {
            timed = timed_as[p, k]
            floor = 1e3 * tflop[p, k] / ceiling[ceiling_of[p, k]]
            if (timed_as[p, k + 1] == timed || timed_as[p, k - 1] == timed) printf "  %-18s %10.4g  %-10s %10.3f\n", name[p, k], tflop[p, k], ceiling_of[p, k], floor
            else row(name[p, k], tflop[p, k], ceiling_of[p, k], floor, (p, timed) in seconds_of ? seconds_of[p, timed] : "")
            if (timed_as[p, k - 1] == timed) row("  these together", "", "", floor_of[p, timed], (p, timed) in seconds_of ? seconds_of[p, timed] : "")
        }
        for (k = 1; k <= n_measured[p]; k++) {
            timed = measured[p, k]
            if (!((p, timed) in floor_of)) row(timed (timed == "record" ? " (not minimum)" : ""), "", "", timed == "record" ? extra[p] : "", seconds_of[p, timed])
        }
        if (n_measured[p]) row("everything else", "", "", "", s - in_parts[p])
        all += total[p]; floors += floor_s[p]; spent += s
    }
    printf "%-20s %10.4g  %-10s %10.3f %10.3f %9.3f\n\n", "together", all, "", floors, spent, floors / spent
}

# Floors of the record of errors.
function extras() {
    extra["quantize"] = blocks * record_forms / 1e9 / ceiling["gemm f32"]
}

# The phases with the record of errors.
function recorded(    p, i) {
    printf "with the record of errors (f32: forms %.3g TFLOP):", blocks * record_forms / 1e12
    for (i = 1; i <= phases; i++) {
        p = order[i]
        printf " %s %.3f,", p, (floor_s[p] + extra[p]) / number(text[4], "seconds/" p "/mean")
    }
    printf " together %.3f\n", (floors + extra["quantize"]) / spent
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

# "streams 0.1, ..." of a phase.
function parts_text(phase,    k, line) {
    read_parts(phase)
    for (k = 1; k <= n_measured[phase]; k++) line = line (k > 1 ? ", " : "") measured[phase, k] sprintf(" %.3f", seconds_of[phase, measured[phase, k]])
    return line
}

function outside(    n, i, others, s, rest, inner) {
    rest = wall - spent
    printf "outside of these: %.1f %% of the run's %.3f s:", 100 * rest / wall, wall
    n = split("open,load,write,checkpoint,evaluation,publish", others, ",")
    for (i = 1; i <= n; i++) {
        s = number(text[4], "seconds/" others[i] "/mean")
        printf " %s %.3f,", others[i], s
        rest -= s
    }
    printf " start, end and what is not timed %.3f\n", rest
    for (i = 1; i <= n; i++) {
        inner = parts_text(others[i])
        if (inner != "") printf "  of %s: %s\n", others[i], inner
    }
    printf "cores: at work or waiting for other threads and ranks %.1f %% of the time of %d, for memory and files in the kernel %.1f %%\n",
        100 * processor / (wall * cores), cores, 100 * system_time / (wall * cores)
}

END {
    ceilings()
    minimum()
    table()
    recorded()
    compare()
    outside()
}
