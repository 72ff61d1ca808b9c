/* Options that describe another machine. SPDX-License-Identifier: Apache-2.0 */
#include "run_priv.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const options[] = {"--ranks", "--ranks-per-node", "--network", "--flops", "--storage", "--trace"};

bool qep_elsewhere_knows(const char *option)
{
    bool known = false;
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) known = known || qep_is_option(option, options[i]);
    return known;
}

/* A positive number with one of the suffixes, each `step` times the one before; *end behind it. */
static double number(const char *text, const char *suffixes, double step, const char **end)
{
    char *rest;
    double v = strtod(text, &rest);
    const char *s = rest > text && *rest ? strchr(suffixes, *rest) : NULL;
    if (s) {
        v *= pow(step, (double)(s - suffixes) + 1);
        rest++;
    }
    *end = rest;
    return rest > text && v > 0 && isfinite(v) ? v : -1;
}

/* 2us, 500ns, 0.000002: seconds. */
static double seconds(const char *text, const char **end)
{
    const double v = number(text, "mun", 1e-3, end);
    if (v > 0 && **end == 's') ++*end;
    return v;
}

static qep_status parse_network(qep_elsewhere *e, const char *v)
{
    const char *end;
    e->latency = seconds(v, &end);
    e->bandwidth = e->latency > 0 && *end == ',' ? number(end + 1, "KMGT", 1e3, &end) : -1;
    if (e->bandwidth > 0 && *end == '\0') return QEP_OK;
    return qep_fail(QEP_E_CONFIG, "--network %s: a message's latency and a node's bytes per second, like 2us,12.5G", v);
}

static qep_status parse_flops(qep_elsewhere *e, const char *v)
{
    const char *end = v;
    for (int i = 0; i < 3; i++) {
        e->flops[i] = i == 0 || *end == ',' ? number(i == 0 ? v : end + 1, "KMGT", 1e3, &end) : -1;
        if (!(e->flops[i] > 0)) break;
    }
    if (e->flops[2] > 0 && *end == '\0') return QEP_OK;
    return qep_fail(QEP_E_CONFIG, "--flops %s: one rank's flops per second in the forward pass, f32 and f64, like 390G,205G,90G", v);
}

static qep_status parse_storage(qep_elsewhere *e, const char *v)
{
    const char *end;
    e->storage = number(v, "KMGT", 1e3, &end);
    return e->storage > 0 && *end == '\0' ? QEP_OK : qep_fail(QEP_E_CONFIG, "--storage %s: bytes per second of the file system, like 20G", v);
}

static qep_status parse_count(const char *option, const char *v, int *out)
{
    char *end;
    const long n = strtol(v, &end, 10);
    if (end == v || *end != '\0' || n < 1 || n > 1 << 20) return qep_fail(QEP_E_CONFIG, "%s %s: not a number of ranks, 1 to %d", option, v, 1 << 20);
    *out = (int)n;
    return QEP_OK;
}

qep_status qep_elsewhere_option(qep_elsewhere *e, const char *option, const char *value)
{
    if (qep_is_option(option, "--ranks")) return parse_count("--ranks", value, &e->ranks);
    if (qep_is_option(option, "--ranks-per-node")) return parse_count("--ranks-per-node", value, &e->per_node);
    if (qep_is_option(option, "--network")) return parse_network(e, value);
    if (qep_is_option(option, "--flops")) return parse_flops(e, value);
    if (qep_is_option(option, "--storage")) return parse_storage(e, value);
    e->trace = value;
    return QEP_OK;
}

qep_status qep_elsewhere_check(qep_elsewhere *e, bool dry_run)
{
    const bool any = e->per_node > 0 || e->latency > 0 || e->flops[0] > 0 || e->storage > 0 || e->trace;
    if (e->ranks == 0 && any) return qep_fail(QEP_E_CONFIG, "--ranks-per-node, --network, --flops, --storage and --trace belong to --ranks");
    if (e->ranks == 0) return QEP_OK;
    if (!dry_run) return qep_fail(QEP_E_CONFIG, "--ranks belongs to --dry-run; the ranks of a run are mpirun's");
    if (e->per_node == 0 || e->per_node > e->ranks) e->per_node = e->ranks;
    if (!(e->latency > 0)) {
        e->latency = 2e-6;
        e->bandwidth = 12.5e9;
    }
    return QEP_OK;
}
