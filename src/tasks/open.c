/* Files of examples -> tasks. SPDX-License-Identifier: Apache-2.0 */
#include "tasks_priv.h"

#include <string.h>

static const int64_t max_bytes = INT64_C(1) << 30;

/* What is needed to read one task. */
typedef struct reader {
    const qep_task_rules *rules;
    qep_task *task;
    const qep_task_format *format; /* NULL before the first example */
    const char *file, *labels_file;
    char *labels; /* text of the labels; NULL: there is no such file */
    const char *next_label;
    int64_t n_labels, n_lines;
    bool uses_labels;
} reader;

/* Copies the next line that is not blank, without its end, to *line (qep_free); false at the end. *number counts all lines. */
static bool next_line(const char **at, int64_t *number, char **line)
{
    while (**at) {
        const char *begin = *at, *end = begin + strcspn(begin, "\n");
        *at = *end ? end + 1 : end;
        (*number)++;
        const int64_t n = end - begin;
        if (qep_trailing_space(begin, n) == n) continue;
        *line = qep_strf("tasks.example", "%.*s", (int)n, begin);
        return true;
    }
    return false;
}

static qep_status take_label(reader *r, qep_example *e, const qep_place *at)
{
    char *line = NULL;
    const qep_place place = {r->labels_file, 0};
    r->uses_labels = true;
    if (!r->labels) return qep_task_fail(at, "it has no field \"label\", and there is no file of labels ", r->labels_file);
    if (!next_line(&r->next_label, &r->n_labels, &line)) return qep_task_fail(&place, "it has fewer labels than examples in ", r->file);
    const int64_t n = (int64_t)strlen(line);
    line[n - qep_trailing_space(line, n)] = '\0';
    const bool ok = (line[0] == '0' || line[0] == '1') && line[1] == '\0';
    e->gold = line[0] - '0';
    qep_free(line);
    const qep_place bad = {r->labels_file, r->n_labels};
    return ok ? QEP_OK : qep_task_fail(&bad, "a label must be 0 or 1", "");
}

static qep_status add_example(reader *r, const qep_example *e, const qep_place *at)
{
    qep_task *t = r->task;
    if ((t->n_examples & (t->n_examples - 1)) == 0) {
        const int64_t room = qep_max_i64(1, 2 * t->n_examples);
        t->choice_at = qep_realloc(t->choice_at, "tasks.choices", room + 1, sizeof *t->choice_at);
        t->gold = qep_realloc(t->gold, "tasks.choices", room, sizeof *t->gold);
    }
    for (int64_t i = 0; i < e->n; i++) QEP_TRY(qep_task_add_choice(t, r->rules, at, e->context, e->choices[i]));
    t->gold[t->n_examples++] = e->gold;
    t->choice_at[t->n_examples] = t->n_choices;
    return QEP_OK;
}

static qep_status read_object(reader *r, const qep_json *o, const qep_place *at)
{
    if (qep_json_type(o) != QEP_JSON_OBJECT) return qep_task_fail(at, "not a JSON object", "");
    if (!r->format) r->format = qep_task_format_of(o);
    if (!r->format)
        return qep_task_fail(at, "no known kind of task: none of the fields choices (arc), goal (piqa), InputSentence1 (storycloze), text (lambada)", "");
    qep_example e = {0};
    qep_status st;
    if (!qep_json_get(o, r->format->mark)) {
        st = qep_task_fail(at, "the field is missing: ", r->format->mark);
        goto done;
    }
    QEP_GO(st, r->format->read(o, at, &e));
    if (e.gold < 0) QEP_GO(st, take_label(r, &e, at));
    if (r->rules->limit == 0 || r->task->n_examples < r->rules->limit) QEP_GO(st, add_example(r, &e, at));
done:
    qep_example_free(&e);
    return st;
}

static qep_status read_line(reader *r, const char *line, int64_t number)
{
    const qep_place at = {r->file, number};
    char *source = qep_strf("tasks.example", "%s, line %lld", r->file, (long long)number);
    qep_json *o = NULL;
    qep_status st;
    QEP_GO(st, qep_json_parse(line, (int64_t)strlen(line), source, QEP_E_INPUT, &o));
    st = read_object(r, o, &at);
done:
    qep_json_free(&o);
    qep_free(source);
    return st;
}

static qep_status read_task(reader *r, const char *text)
{
    char *line = NULL;
    const qep_place whole = {r->file, 0}, labels = {r->labels_file, 0};
    r->next_label = r->labels;
    while (next_line(&text, &r->n_lines, &line)) {
        const qep_status st = read_line(r, line, r->n_lines);
        qep_free(line);
        line = NULL;
        if (st != QEP_OK) return st;
    }
    if (r->task->n_examples == 0) return qep_task_fail(&whole, "it holds no example", "");
    if (r->uses_labels && next_line(&r->next_label, &r->n_labels, &line)) {
        qep_free(line);
        return qep_task_fail(&labels, "it has more labels than examples in ", r->file);
    }
    r->task->kind = r->format->kind;
    r->task->word = r->format->word;
    return QEP_OK;
}

/* NAME.jsonl -> NAME-labels.lst; qep_free. */
static char *labels_name(const char *file)
{
    const size_t n = strlen(file), k = strlen(".jsonl");
    const bool ends = n > k && strcmp(file + n - k, ".jsonl") == 0;
    return qep_strf("tasks.files", "%.*s-labels.lst", (int)(ends ? n - k : n), file);
}

/* Text of a file from root. absent: it may be missing, *text is then NULL. */
static qep_status file_text_all(qep_comm *c, const char *path, bool absent, char **text)
{
    int64_t bytes = 0;
    bool there = true;
    qep_status st = QEP_OK;
    if (qep_rank(c) == 0) {
        there = !absent || qep_file_exists(path);
        if (there) st = QEP_ALONE("texts", qep_file_read(path, max_bytes, QEP_E_INPUT, text, &bytes));
        if (st == QEP_OK && there && (int64_t)strlen(*text) != bytes) st = qep_fail(QEP_E_INPUT, "%s: holds a NUL byte; this is not a text file", path);
    }
    QEP_TRY(qep_agree_all(c, st));
    qep_bcast_all(c, 0, &there, sizeof there);
    if (there) qep_bcast_text_all(c, 0, text, &bytes);
    return QEP_OK;
}

static qep_status open_one_all(qep_comm *c, reader *r)
{
    char *text = NULL, *labels_file = labels_name(r->file);
    qep_status st;
    r->labels_file = labels_file;
    QEP_GO(st, file_text_all(c, r->file, false, &text));
    QEP_GO(st, file_text_all(c, labels_file, true, &r->labels));
    st = qep_agree_all(c, read_task(r, text));
done:
    if (st != QEP_OK) qep_context(st, "evaluation.tasks, %s", r->task->name);
    qep_free(r->labels);
    qep_free(labels_file);
    qep_free(text);
    return st;
}

qep_status qep_tasks_open_all(qep_comm *c, const qep_task_rules *rules, const char *const *names, const char *const *files, int64_t n, qep_tasks **out)
{
    qep_tasks *t = qep_alloc("tasks.list", 1, sizeof *t);
    qep_status st = QEP_OK;
    *t = (qep_tasks){.at = qep_alloc("tasks.list", n, sizeof *t->at), .n = n};
    for (int64_t i = 0; i < n && st == QEP_OK; i++) {
        t->at[i].name = qep_strdup("tasks.list", names[i]);
        reader r = {.rules = rules, .task = &t->at[i], .file = files[i]};
        st = open_one_all(c, &r);
        t->n_sequences += t->at[i].n_choices;
    }
    if (st != QEP_OK) qep_tasks_destroy(&t);
    *out = t;
    return st;
}

void qep_tasks_drop_ids(qep_tasks *t)
{
    for (int64_t i = 0; i < t->n; i++) {
        qep_free(t->at[i].ids);
        t->at[i].ids = NULL;
    }
}

void qep_tasks_destroy(qep_tasks **tasks)
{
    qep_tasks *t = *tasks;
    if (!t) return;
    qep_tasks_drop_ids(t);
    for (int64_t i = 0; i < t->n; i++) {
        qep_free(t->at[i].choices);
        qep_free(t->at[i].choice_at);
        qep_free(t->at[i].gold);
        qep_free(t->at[i].name);
    }
    qep_free(t->at);
    qep_free(t);
    *tasks = NULL;
}
