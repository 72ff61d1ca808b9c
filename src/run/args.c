/* Command line, --help, --version.
 * SPDX-License-Identifier: Apache-2.0 */
#include "run_priv.h"

#include <string.h>

/* The value of option argv[*i]: "--name=value" or the next argument; NULL when there is none. */
static const char *option_value(int argc, char **argv, int *i)
{
    const char *eq = strchr(argv[*i], '=');
    if (eq) return eq + 1;
    if (*i + 1 >= argc) return NULL;
    return argv[++*i];
}

bool qep_is_option(const char *arg, const char *name)
{
    size_t n = strlen(name);
    return strncmp(arg, name, n) == 0 && (arg[n] == '\0' || arg[n] == '=');
}

static qep_status parse_restart(const char *v, qep_restart *out)
{
    static const char *const names[] = {"auto", "yes", "no"};
    for (int i = 0; i < 3; i++)
        if (strcmp(v, names[i]) == 0) {
            *out = (qep_restart)i;
            return QEP_OK;
        }
    return qep_fail(QEP_E_CONFIG, "--restart %s: use auto, yes or no", v);
}

static qep_status add_set(qep_args *a, const char *text)
{
    if (a->n_sets == (int)(sizeof a->sets / sizeof a->sets[0]))
        return qep_fail(QEP_E_CONFIG, "more than %d --set options; put the settings into the file", a->n_sets);
    a->sets[a->n_sets++] = text;
    return QEP_OK;
}

static qep_status parse_option(int argc, char **argv, int *i, qep_args *out)
{
    const char *arg = argv[*i];
    if (strcmp(arg, "--help") == 0 || strcmp(arg, "-h") == 0) {
        out->help = true;
    } else if (strcmp(arg, "--version") == 0) {
        out->version = true;
    } else if (strcmp(arg, "--dry-run") == 0) {
        out->dry_run = true;
    } else if (qep_is_option(arg, "--set") || qep_is_option(arg, "--restart") || qep_is_option(arg, "--check") || qep_is_option(arg, "--report") ||
               qep_is_option(arg, "--walltime") || qep_is_option(arg, "--convert") || qep_is_option(arg, "--format") || qep_is_option(arg, "--output") ||
               qep_elsewhere_knows(arg)) {
        const char *v = option_value(argc, argv, i);
        if (!v || !*v) return qep_fail(QEP_E_CONFIG, "%s needs a value; see qep_mpi --help", arg);
        if (qep_elsewhere_knows(arg)) return qep_elsewhere_option(&out->elsewhere, arg, v);
        if (qep_is_option(arg, "--restart")) return parse_restart(v, &out->restart);
        if (qep_is_option(arg, "--set")) return add_set(out, v);
        if (!qep_is_option(arg, "--walltime")) {
            const char **where = qep_is_option(arg, "--check") ? &out->check : qep_is_option(arg, "--report") ? &out->report
                                 : qep_is_option(arg, "--convert") ? &out->convert : qep_is_option(arg, "--format") ? &out->format : &out->output;
            if (*where) return qep_fail(QEP_E_CONFIG, "%s is given twice", arg);
            *where = v;
            return QEP_OK;
        }
        return add_set(out, qep_strf("args", "run.walltime=%s", v)); /* lives as long as the program */
    } else {
        return qep_fail(QEP_E_CONFIG, "unknown option %s; see qep_mpi --help", arg);
    }
    return QEP_OK;
}

/* A finished output is looked at alone: no run, no second one beside it. */
static qep_status check_one_task(const qep_args *a)
{
    const char *names[] = {a->check ? "--check" : NULL, a->report ? "--report" : NULL, a->convert ? "--convert" : NULL}, *task = NULL;
    for (int i = 0; i < 3; i++) {
        if (!names[i]) continue;
        if (task) return qep_fail(QEP_E_CONFIG, "%s and %s: one at a time", task, names[i]);
        task = names[i];
    }
    if (task && a->config) return qep_fail(QEP_E_CONFIG, "%s looks at a finished output and takes no configuration file: %s", task, a->config);
    if (task && a->dry_run) return qep_fail(QEP_E_CONFIG, "--dry-run belongs to a run of a configuration file, not to %s", task);
    return QEP_OK;
}

qep_status qep_args_parse(int argc, char **argv, qep_args *out)
{
    *out = (qep_args){0};
    for (int i = 1; i < argc; i++) {
        if (argv[i][0] == '-' && argv[i][1] != '\0') {
            QEP_TRY(parse_option(argc, argv, &i, out));
        } else if (out->config) {
            return qep_fail(QEP_E_CONFIG, "two configuration files: %s and %s; give one, change keys with --set", out->config, argv[i]);
        } else {
            out->config = argv[i];
        }
    }
    if ((out->format || out->output) && !out->convert)
        return qep_fail(QEP_E_CONFIG, "--format and --output belong to --convert DIR; of a run they are --set output.format=... and output.path=...");
    QEP_TRY(check_one_task(out));
    QEP_TRY(qep_elsewhere_check(&out->elsewhere, out->dry_run));
    if (!out->config && !out->check && !out->report && !out->convert && !out->help && !out->version)
        return qep_fail(QEP_E_CONFIG, "no configuration file; usage: mpirun -np P qep_mpi config.ini (qep_mpi --help tells more)");
    return QEP_OK;
}

void qep_print_version(void)
{
    printf("qep_mpi %s (%s)\n%s\n%s\n%s\n%s\n", qep_version, qep_build_id, qep_par_library(), qep_dmat_library(),
           qep_store_library(), qep_linalg_describe());
}

void qep_print_help(void)
{
    char *keys = qep_config_help();
    printf("qep_mpi %s: quantizes large language models with quantization error propagation, on any number of ranks\n\n"
           "usage: mpirun -np P qep_mpi config.ini [options]\n\n"
           "  --set section.key=value  change a key of the file (repeatable; wins over the file)\n"
           "  --restart auto|yes|no    continue from the checkpoint if there is one (auto), demand one (yes), start anew (no)\n"
           "  --walltime H:MM:SS       stop cleanly (exit code 75) before this time is over\n"
           "  --dry-run                check everything, print the plan (work, memory, disk, time), touch nothing\n"
           "  --ranks N [--ranks-per-node M] [--network LATENCY,BANDWIDTH] [--flops FORWARD,F32,F64] [--storage BANDWIDTH]\n"
           "                           with --dry-run: the plan for another machine, from these figures (2us,12.5G; flops of one rank, measured\n"
           "                           here when not given); --trace DIR: the first block's calls for SimGrid (smpirun -replay)\n"
           "  --check DIR              read a finished output back and verify it\n"
           "  --convert DIR --format NAME [--output DIR2]   lay a finished output out in another format, codes unchanged (DIR-NAME);\n"
           "                           takes --set output.overwrite=yes and --set output.shard_size=SIZE\n"
           "  --report DIR             print the tables of a finished run\n"
           "  --version, --help\n\n"
           "keys of the configuration file (default):\n%s\n"
           "exit codes: 0 done, 1 usage or configuration, 2 input, 3 memory or disk, 4 numerical failure, 5 I/O,\n"
           "  6 checkpoint that cannot be used, 70 internal error, 75 stopped cleanly: submit the same command again\n"
           "signals: USR1 checkpoint and stop, USR2 checkpoint and go on, TERM/INT stop at once; a file STOP in the output\n"
           "  directory acts like USR1\n",
           qep_version, keys);
    qep_free(keys);
}
