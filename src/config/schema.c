/* The table of keys: everything a user can set is one row here. Parsing, checks, --help,
 * config/reference.ini and qep_mpi.ini are made from it. SPDX-License-Identifier: Apache-2.0 */
#include "config_priv.h"

#include <string.h>

static const char *const bit_widths[] = {"2", "3", "4", "8", NULL};
static const char *const clips[] = {"auto", "none", "mse", "hessian", NULL};
static const char *const grids[] = {"zero", "free", "signed", NULL};
static const char *const rescomp_modes[] = {"auto", "allw", "org", NULL};
static const char *const foem_variants[] = {"paper", "next", NULL};
static const char *const compats[] = {"none", "paper", NULL};
static const char *const final_norms[] = {"auto", "yes", "no", NULL};
static const char *const corrections[] = {"none", "qep", NULL};
static const char *const formats[] = {"gptq", "gptq_v2", "compressed-tensors", "awq", "gguf", "dense", NULL};
static const char *const selections[] = {"random", "random-new", "sequential", "packed", NULL};
static const char *const document_rules[] = {"file", "blocks", NULL};
static const char *const bos_rules[] = {"auto", "yes", "no", NULL};
static const char *const joints[] = {"blank-line", "newline", "space", "none", NULL};
static const char *const computes[] = {"bf16", "f32", NULL};
static const char *const activation_plans[] = {"auto", "keep", "recompute", NULL};
static const char *const failures[] = {"repair", "abort", NULL};
static const char *const log_levels[] = {"error", "warn", "info", "debug", NULL};

#define AT(field) .offset = offsetof(qep_config, field)
#define LIST(field)                                                                                \
    .offset = offsetof(qep_config, field), .count_at = offsetof(qep_config, n_##field)
#define LIN(field) .linear = true, .identity = true, .offset = offsetof(qep_linear_config, field)
#define RANGE(a, b) .min = (a), .max = (b)
#define SPECIAL(word, v) .special = (word), .special_value = (v)

const qep_key qep_keys[] = {
    {"model", "path", QEP_KEY_PATH, AT(model_path), .example = "model",
     .help = "Directory of the model: config.json, *.safetensors, tokenizer files."},

    {"output", "path", QEP_KEY_PATH, AT(output_path), .example = "model-quantized",
     .help = "Directory of the result: the quantized model, qep_mpi.log, qep_mpi.ini, modules.csv, "
             "summary.json, report.html."},
    {"output", "format", QEP_KEY_CHOICE, AT(format), .identity = true, .def = "gptq",
     .choices = formats,
     .help = "gptq, gptq_v2, compressed-tensors, awq: packed codes, scales and zeros; README has the "
             "table of the programs that read them. gguf: one file for llama.cpp. dense: weights of the "
             "original type."},
    {"output", "shard_size", QEP_KEY_SIZE, AT(shard_size), .identity = true, .def = "5G",
     RANGE(1, 9e18), .help = "Largest size of one safetensors file; K M G T are powers of 1000."},
    {"output", "overwrite", QEP_KEY_BOOL, AT(overwrite), .def = "no",
     .help = "Replace a finished result in the output directory."},

    {"calibration", "data", QEP_KEY_PATHS, LIST(calibration_data), .example = "calibration.npy",
     .help = "Text: .txt, .jsonl, also with .gz, through the model's tokenizer. Token ids: .npy or "
             "HDF5 (file.h5:/dataset), one-dimensional or [samples, length]. Several files share "
             "the samples evenly, or by weight: c4.jsonl*0.75, own.txt*0.25."},
    {"calibration", "field", QEP_KEY_TEXT, AT(field), .identity = true, .def = "text",
     .help = "Member of each line's object in a .jsonl file that holds the text; for evaluation "
             "sets too."},
    {"calibration", "documents", QEP_KEY_CHOICE, AT(documents), .identity = true, .def = "file",
     .choices = document_rules,
     .help = "What a document is in a .txt file. file: all of it. blocks: what stands between blank "
             "lines."},
    {"calibration", "samples", QEP_KEY_INT, AT(samples), .identity = true, .def = "128",
     RANGE(1, 16777216), .help = "Number of calibration sequences."},
    {"calibration", "length", QEP_KEY_INT, AT(length), .identity = true, .def = "auto",
     RANGE(1, 4194304), SPECIAL("auto", 0),
     .help = "Tokens of a sequence. auto: the rows of a [samples, length] array, 2048 for a "
             "one-dimensional one."},
    {"calibration", "selection", QEP_KEY_CHOICE, AT(selection), .identity = true, .def = "random",
     .choices = selections,
     .help =
         "Which rows or windows are taken. random: drawn with seed as the published codes do with "
         "Python's random: of one long text or array, windows anywhere; of many documents, one that "
         "is long enough, then a window in it. random-new: the same as GPTAQ and ResComp draw from "
         "C4: a window never reaches its document's last token, one of exactly length tokens is "
         "passed over. sequential: from the start, windows inside documents. packed: from the "
         "start, documents joined."},
    {"calibration", "bos", QEP_KEY_CHOICE, AT(bos), .identity = true, .def = "auto",
     .choices = bos_rules,
     .help = "BOS token in front of a text (each document, each evaluation set). auto: as the "
             "tokenizer does it."},
    {"calibration", "seed", QEP_KEY_INT, AT(seed), .identity = true, .def = "0", RANGE(0, 9e18),
     .help = "Seed of the random selection."},
    {"calibration", "validation", QEP_KEY_INT, AT(validation), .identity = true, .def = "16",
     RANGE(0, 16777216),
     .help = "Held-out sequences for fitting and for held-out figures, never in the statistics; "
             "rows or windows of the same files that calibration leaves alone, fewer when there "
             "are not so many."},

    {"calibration", "save_tokens", QEP_KEY_PATH, AT(save_tokens), .def = "none", SPECIAL("none", 0),
     .help = "HDF5 file that gets the token ids of this run: tokens (calibration rows, then "
             "validation rows) and evaluation.NAME. As calibration.data with selection = "
             "sequential it repeats the run."},

    {"quantization", "method", QEP_KEY_CHOICE, LIN(method), .def = "gptq", .methods = true,
     .in_override = "method", .help = "How the weights are rounded."},
    {"quantization", "bits", QEP_KEY_INT, LIN(bits), .def = "4", .choices = bit_widths,
     .in_override = "bits", .help = "Bits of a code."},
    {"quantization", "group_size", QEP_KEY_INT, LIN(group_size), .def = "128", RANGE(1, 16777216),
     SPECIAL("-1", -1), .in_override = "group_size",
     .help = "Neighbouring input channels that share a scale. -1: one group per row."},
    {"quantization", "symmetric", QEP_KEY_BOOL, LIN(symmetric), .def = "no",
     .in_override = "symmetric", .help = "Grid symmetric around zero; no: a zero point per group."},
    {"quantization", "act_order", QEP_KEY_BOOL, LIN(act_order), .def = "yes",
     .in_override = "act_order",
     .help = "Quantize the input channels in the order of falling diag H."},
    {"quantization", "static_groups", QEP_KEY_BOOL, LIN(static_groups), .def = "yes",
     .in_override = "static_groups",
     .help = "Groups' grids are found before the first channel is quantized, and with act_order groups are neighbours in the original order."},
    {"quantization", "clip", QEP_KEY_CHOICE, LIN(clip), .def = "auto", .choices = clips,
     .in_override = "clip",
     .help = "Search for a narrower range. none: min and max. mse: least sum of |error|^2.4. hessian: "
             "error weighted by the Hessian, zero points too. awq has one search, by the error of the outputs: both. auto: the last of "
             "these that the method has."},
    {"quantization", "refit", QEP_KEY_INT, LIN(refit), .def = "2", RANGE(0, 1000), .in_override = "refit",
     .help = "Rounds of {least squares for the scales; sweeps over the codes} after the rounding, closed by the scales once more. "
             "0: the scales stay."},
    {"quantization", "sweeps", QEP_KEY_INT, LIN(sweeps), .def = "4", RANGE(0, 1000), .in_override = "sweeps",
     .help = "At most so many sweeps of coordinate descent over the codes in a round; they end when no code moves."},
    {"quantization", "clip_steps", QEP_KEY_INT, LIN(clip_steps), .def = "100", RANGE(5, 10000), .in_override = "clip_steps",
     .help = "clip = mse: how finely the search goes from the whole range down to a fifth of it."},
    {"quantization", "grid", QEP_KEY_CHOICE, LIN(grid), .def = "zero", .choices = grids, .in_override = "grid",
     .help = "zero: the range of the weights and 0. free: their own range, with or without 0 in it (not symmetric). signed (symmetric): the largest "
             "weight on the outermost positive code."},
    {"quantization", "damping", QEP_KEY_REAL, LIN(damping), .def = "0.3", RANGE(0, 1000),
     .in_override = "damping", .help = "Added to the diagonal of H, relative to its mean."},
    {"quantization", "block_size", QEP_KEY_INT, LIN(block_size), .def = "128", RANGE(1, 65536),
     .in_override = "block_size",
     .help = "Columns per lazy update. Changes speed, not the method; with compat = paper groups, and what goes on to later columns, depend on it."},
    {"quantization", "gptaq_alpha", QEP_KEY_REAL, LIN(options.gptaq_alpha), .def = "0.25", RANGE(0, 10),
     .in_override = "gptaq_alpha", .help = "Weight of the asymmetric term (the paper: 1, its code: 0.25)."},
    {"quantization", "rescomp_alpha1", QEP_KEY_REAL, LIN(options.rescomp_alpha1), .def = "0.25", RANGE(0, 10),
     .in_override = "rescomp_alpha1", .help = "Weight of the asymmetric term."},
    {"quantization", "rescomp_alpha2", QEP_KEY_REAL, LIN(options.rescomp_alpha2), .def = "0.25", RANGE(0, 10),
     .in_override = "rescomp_alpha2", .help = "Weight of the term that aims at the original weights."},
    {"quantization", "rescomp_mode", QEP_KEY_CHOICE, LIN(options.rescomp_mode), .def = "auto", .choices = rescomp_modes,
     .in_override = "rescomp_mode",
     .help = "What goes on to later channels: allw: the weight before rounding. org: the rounded one. auto: org at 2 bits, else allw."},
    {"quantization", "foem_variant", QEP_KEY_CHOICE, LIN(options.foem_variant), .def = "paper", .choices = foem_variants,
     .in_override = "foem_variant",
     .help = "paper: all later channels are drawn back to the original weights (compat = paper: as its authors' code does it, where H has not "
             "cancelled). next: only the next one (GPTQModel)."},
    {"quantization", "foem_beta", QEP_KEY_REAL, LIN(options.foem_beta), .def = "0.1", RANGE(0, 1),
     .in_override = "foem_beta",
     .help = "How far they are drawn back (the paper: 0.1; its code, in units of H: 0.0003; GPTQModel: 0.2)."},
    {"quantization", "foem_alpha", QEP_KEY_REAL, LIN(options.foem_alpha), .def = "0", RANGE(0, 10),
     .in_override = "foem_alpha", .help = "Weight of GPTAQ's asymmetric term (0: none)."},
    {"quantization", "rotation_seed", QEP_KEY_INT, LIN(options.rotation_seed), .def = "0", RANGE(0, 9e18),
     .in_override = "rotation_seed", .help = "Seed of the random transforms."},
    {"quantization", "compat", QEP_KEY_CHOICE, AT(compat), .identity = true, .def = "none",
     .choices = compats,
     .help = "paper: what the published codes do where it is not what their papers say, with scales that stay f32 (they store no "
             "packed model); needs [output] format = dense (written as F32)."},
    {"quantization", "lm_head", QEP_KEY_BOOL, AT(lm_head), .identity = true, .def = "no",
     .help = "Quantize the output head too; a head that is tied to the embedding gets weights of "
             "its own."},
    {"quantization", "final_norm", QEP_KEY_CHOICE, AT(final_norm), .identity = true, .def = "auto",
     .choices = final_norms,
     .help = "Fit the final norm's weight behind the last block, by the divergence from the original model on the calibration tokens; kept when it lowers the "
             "divergence on the held-out sequences too, where there are any. auto: yes where calibration tokens are read, but not with compat = paper."},
    {"quantization", "blocks", QEP_KEY_RANGES, AT(blocks), .identity = true, .def = "all",
     SPECIAL("all", 0),
     .help = "Blocks whose linears are quantized, counted from 0 as in the names of the modules. The others stay as they are; the quantized stream runs "
             "through them."},

    {"correction", "method", QEP_KEY_CHOICE, LIN(correction), .def = "qep", .choices = corrections,
     .in_override = "correction",
     .help = "qep: correct the weights for the error of the layers before (Arai and Ichikawa "
             "2025). none: leave them as they are."},
    {"correction", "alpha", QEP_KEY_REAL, LIN(alpha), .def = "1", RANGE(0, 2), SPECIAL("auto", QEP_ALPHA_AUTO),
     .in_override = "alpha",
     .help = "Strength of the correction: 0 none, 1 full. auto: for each group of linears alpha, the correction's damping (one of 0.001, 0.01, 0.1, 1) and the share "
             "of the residual stream (alpha times residual) that serve the held-out sequences best; not for experts."},
    {"correction", "damping", QEP_KEY_REAL, LIN(correction_damping), .def = "0.01", RANGE(0, 1000),
     .in_override = "correction_damping",
     .help = "Added to the diagonal of H in the correction, relative to its mean."},
    {"correction", "residual", QEP_KEY_REAL, LIN(residual), .def = "0.5", RANGE(0, 2), .in_override = "residual",
     .help = "Linears whose output is added to the residual stream (o_proj, down_proj): share of the stream's own error that they are aimed at too. "
             "0: none."},
    {"correction", "exclude", QEP_KEY_GLOBS, LIN(exclude), .def = "", .in_override = "exclude",
     .help = "Linears that are not corrected: comma list of names or globs on the end of the "
             "module name (down_proj, mlp.*)."},

    {"override", "match", QEP_KEY_TEXT, .example = "model.layers.0.*",
     .help =
         "Glob (* and ?) on the module's full name; the settings below hold for what it matches."},

    {"evaluation", "data", QEP_KEY_FILES, LIST(evaluation), .def = "",
     .help = "Comma list of name:file, text or token ids as for calibration; perplexity of both "
             "models and KL divergence are measured on them. A text is tokenized as one string."},
    {"evaluation", "join", QEP_KEY_CHOICE, AT(join), .identity = true, .def = "blank-line",
     .choices = joints,
     .help = "What is put between the documents of a .jsonl file: two newlines (as for WikiText-2), "
             "one, a space (as for C4), or nothing."},
    {"evaluation", "length", QEP_KEY_INT, AT(evaluation_length), .identity = true, .def = "auto",
     RANGE(2, 16777216), SPECIAL("auto", 0),
     .help = "Tokens of a window. auto: as the calibration sequences."},
    {"evaluation", "tokens", QEP_KEY_INT, AT(evaluation_tokens), .identity = true, .def = "all",
     RANGE(2, 9e18), SPECIAL("all", 0), .help = "At most so many tokens of each set."},
    {"evaluation", "tasks", QEP_KEY_FILES, LIST(tasks), .def = "",
     .help = "Comma list of name:file, examples whose answer is chosen by log-likelihood, a JSON object a line with the fields of ARC, PIQA "
             "(labels in NAME-labels.lst beside NAME.jsonl), StoryCloze or LAMBADA; scored as lm-evaluation-harness does, with the model's tokenizer."},
    {"evaluation", "tasks_bos", QEP_KEY_CHOICE, AT(tasks_bos), .identity = true, .def = "auto", .choices = bos_rules,
     .help = "BOS token in front of each prompt of a task. auto: as the tokenizer does it, which is what lm-evaluation-harness 0.4.10 to 0.4.13 do. "
             "no: as 0.4.9 and before, which put one in front for Gemma only. yes: also where the tokenizer puts none."},
    {"evaluation", "task_examples", QEP_KEY_INT, AT(task_examples), .identity = true, .def = "all", RANGE(1, 9e18), SPECIAL("all", 0),
     .help = "At most so many examples of each task, from the start."},

    {"checkpoint", "path", QEP_KEY_PATH, AT(checkpoint_path), .def = "auto", SPECIAL("auto", 0),
     .help = "Checkpoint file without its ending .h5. auto: checkpoint in the output directory."},
    {"checkpoint", "every", QEP_KEY_INT, AT(checkpoint_every), .def = "1", RANGE(1, 1000000),
     SPECIAL("never", 0),
     .help = "Blocks between checkpoints. never: only when the run is asked to stop."},
    {"checkpoint", "keep", QEP_KEY_INT, AT(checkpoint_keep), .def = "2", RANGE(1, 2),
     .help = "Generations of the checkpoint on the disk."},

    {"run", "compute", QEP_KEY_CHOICE, AT(compute), .identity = true, .def = "bf16",
     .choices = computes,
     .help = "Type of the factors in the model's matrix products (sums are f32 at least)."},
    {"run", "threads", QEP_KEY_INT, AT(threads), .def = "auto", RANGE(1, 4096), SPECIAL("auto", 0),
     .help =
         "Threads of a rank. auto: OMP_NUM_THREADS, else the node's cores shared by its ranks."},
    {"run", "walltime", QEP_KEY_DURATION, AT(walltime_s), .def = "none", SPECIAL("none", 0),
     .help = "H:MM:SS, MM:SS or seconds from the start; the run stops with a checkpoint and exit "
             "code 75 before it is over."},
    {"run", "reproducible", QEP_KEY_BOOL, AT(reproducible), .identity = true, .def = "yes",
     .help = "The same bits for any number of ranks and threads. no: ScaLAPACK factors the matrices, its BLAS with all threads of a rank; their numbers then "
             "matter."},
    {"run", "activations", QEP_KEY_CHOICE, AT(activations), .def = "auto",
     .choices = activation_plans,
     .help = "Activations inside the MLP: keep them in memory or compute them again. auto: keep "
             "when they fit."},
    {"run", "on_failure", QEP_KEY_CHOICE, AT(on_failure), .def = "repair", .choices = failures,
     .help = "When a factorization fails. repair: more damping in steps of 10 up to 1, recorded, "
             "else exit code 4. abort: exit code 4 at once."},
    {"run", "log_level", QEP_KEY_CHOICE, AT(log_level), .def = "info", .choices = log_levels,
     .help = "Least important message that is written."},

    {"solver", "grid", QEP_KEY_GRID, AT(grid), .def = "auto", RANGE(1, 1048576), SPECIAL("auto", 0),
     .help = "Process grid of the factorizations: Px1, P ranks that own the matrix by rows. auto: "
             "by the size of the matrix; experts of up to 4096 columns have theirs whole on one "
             "rank, if there is room."},
    {"solver", "block", QEP_KEY_INT, AT(solver_block), .identity = true, .def = "64",
     RANGE(1, 65536),
     .help = "Rows and columns of a block of the distributed matrices; best a multiple of 64."},
};
const int qep_n_keys = (int)(sizeof qep_keys / sizeof *qep_keys);

const char *const qep_sections[] = {"model",      "output",   "calibration", "quantization",
                                    "correction", "override", "evaluation",  "checkpoint",
                                    "run",        "solver",   NULL};

bool qep_section_known(const char *section)
{
    for (const char *const *s = qep_sections; *s; s++) {
        if (qep_same(*s, section)) return true;
    }
    return false;
}

int qep_key_find(const char *section, const char *name)
{
    bool override = qep_same(section, "override");
    for (int i = 0; i < qep_n_keys; i++) {
        const qep_key *k = &qep_keys[i];
        if (qep_same(k->section, section) && qep_same(k->name, name)) return i;
        if (override && k->in_override && qep_same(k->in_override, name)) return i;
    }
    return -1;
}

void *qep_key_value(const qep_key *k, qep_config *c, qep_linear_config *lin)
{
    return (k->linear ? (char *)lin : (char *)c) + k->offset;
}

static void allowed_number(const qep_key *k, qep_text *t)
{
    if (k->max >= 9e18) {
        qep_text_add(t, "%.0f or more", k->min);
    } else {
        qep_text_add(t, "%.0f .. %.0f", k->min, k->max);
    }
}

const char *qep_key_choice(const qep_key *k, int i)
{
    if (!k->methods) return k->choices ? k->choices[i] : NULL;
    const qep_method *m = qep_method_at(i);
    return m ? m->name : NULL;
}

static void allowed_choices(const qep_key *k, qep_text *t)
{
    const char *word;
    for (int i = 0; (word = qep_key_choice(k, i)) != NULL; i++)
        qep_text_add(t, "%s%s", i == 0 ? "" : ", ", word);
}

/* " Read by gptq, foem." when the key is one of [quantization] that some methods read and some do not. */
static void add_readers(const qep_key *k, qep_text *t)
{
    int readers = 0, others = 0;
    if (!qep_same(k->section, "quantization")) return;
    for (int i = 0; qep_method_at(i); i++) {
        const qep_method *m = qep_method_at(i);
        if (m->drive == QEP_DRIVE_NONE) continue;
        if (qep_method_reads(m, k->name)) readers++;
        else others++;
    }
    if (readers == 0 || others == 0) return;
    const char *before = " Read by ";
    for (int i = 0; qep_method_at(i); i++) {
        if (!qep_method_reads(qep_method_at(i), k->name)) continue;
        qep_text_add(t, "%s%s", before, qep_method_at(i)->name);
        before = ", ";
    }
    qep_text_add(t, ".");
}

void qep_key_help(const qep_key *k, qep_text *t)
{
    qep_text_add(t, "%s", k->help);
    for (int i = 0; k->methods && qep_method_at(i); i++)
        qep_text_add(t, " %s: %s.", qep_method_at(i)->name, qep_method_at(i)->help);
    add_readers(k, t);
}

void qep_key_allowed(const qep_key *k, qep_text *t)
{
    switch (k->type) {
    case QEP_KEY_TEXT: qep_text_add(t, "text"); break;
    case QEP_KEY_PATH: qep_text_add(t, "a path"); break;
    case QEP_KEY_PATHS: qep_text_add(t, "file, file*weight, ..."); break;
    case QEP_KEY_FILES: qep_text_add(t, "name:file, name:file, ..."); break;
    case QEP_KEY_GLOBS: qep_text_add(t, "name, name, ... (letters, digits and _ - . * ?)"); break;
    case QEP_KEY_RANGES: qep_text_add(t, "numbers and ranges, for example 0-9, 12"); break;
    case QEP_KEY_CHOICE: allowed_choices(k, t); break;
    case QEP_KEY_INT:
        if (k->choices) {
            allowed_choices(k, t);
        } else {
            allowed_number(k, t);
        }
        break;
    case QEP_KEY_SIZE: qep_text_add(t, "bytes with K, M, G or T, for example 5G"); break;
    case QEP_KEY_BOOL: qep_text_add(t, "yes, no"); break;
    case QEP_KEY_REAL: qep_text_add(t, "a number from %g to %g", k->min, k->max); break;
    case QEP_KEY_DURATION: qep_text_add(t, "H:MM:SS, MM:SS, seconds"); break;
    case QEP_KEY_GRID: qep_text_add(t, "Px1, for example 4x1"); break;
    }
    if (k->special) qep_text_add(t, " or %s", k->special);
}
