/* The fields of each kind of example, and its prompt. SPDX-License-Identifier: Apache-2.0 */
#include "tasks_priv.h"

#include <string.h>

qep_status qep_task_fail(const qep_place *at, const char *what, const char *name)
{
    if (at->line == 0) return qep_fail(QEP_E_INPUT, "%s: %s%s", at->file, what, name);
    return qep_fail(QEP_E_INPUT, "%s, line %lld: %s%s", at->file, (long long)at->line, what, name);
}

void qep_example_free(qep_example *e)
{
    for (int64_t i = 0; i < e->n; i++) qep_free(e->choices[i]);
    qep_free(e->choices);
    qep_free(e->context);
    *e = (qep_example){0};
}

static void make_room(qep_example *e, int64_t n)
{
    e->choices = qep_alloc("tasks.example", n, sizeof *e->choices);
}

static void add_choice(qep_example *e, const char *text)
{
    e->choices[e->n++] = qep_strdup("tasks.example", text);
}

static qep_status text_of(const qep_json *o, const char *key, const qep_place *at, const char **out)
{
    *out = qep_json_string(qep_json_get(o, key));
    if (*out) return QEP_OK;
    return qep_task_fail(at, qep_json_get(o, key) ? "this field is not a text: " : "the field is missing: ", key);
}

/* A whole number from lo to hi, also when it is written as a text. */
static qep_status number_of(const qep_json *o, const char *key, int64_t lo, int64_t hi, const qep_place *at, int64_t *out)
{
    const qep_json *j = qep_json_get(o, key);
    char text[96];
    int64_t v = 0;
    bool ok = j && qep_json_type(j) == QEP_JSON_INT;
    if (ok) v = qep_json_int(j);
    const char *s = qep_json_string(j);
    if (s && s[0] >= '0' && s[0] <= '9' && s[1] == '\0') {
        v = s[0] - '0';
        ok = true;
    }
    if (!j) return qep_task_fail(at, "the field is missing: ", key);
    if (!ok) return qep_task_fail(at, "this field is not a whole number: ", key);
    snprintf(text, sizeof text, "%s = %lld is not within %lld .. %lld", key, (long long)v, (long long)lo, (long long)hi);
    if (v < lo || v > hi) return qep_task_fail(at, text, "");
    *out = v;
    return QEP_OK;
}

static qep_status read_arc(const qep_json *o, const qep_place *at, qep_example *e)
{
    const char *query;
    const qep_json *list = qep_json_get(o, "choices");
    QEP_TRY(text_of(o, "query", at, &query));
    if (qep_json_type(list) != QEP_JSON_ARRAY || qep_json_size(list) < 2)
        return qep_task_fail(at, "this field is not a list of two or more texts: ", "choices");
    QEP_TRY(number_of(o, "gold", 0, qep_json_size(list) - 1, at, &e->gold));
    make_room(e, qep_json_size(list));
    for (int64_t i = 0; i < qep_json_size(list); i++) {
        const char *text = qep_json_string(qep_json_at(list, i));
        if (!text) return qep_task_fail(at, "this field is not a list of two or more texts: ", "choices");
        add_choice(e, text);
    }
    e->context = qep_strf("tasks.example", "Question: %s\nAnswer:", query);
    return QEP_OK;
}

static qep_status read_piqa(const qep_json *o, const qep_place *at, qep_example *e)
{
    const char *goal, *sol;
    QEP_TRY(text_of(o, "goal", at, &goal));
    e->context = qep_strf("tasks.example", "Question: %s\nAnswer:", goal);
    make_room(e, 2);
    QEP_TRY(text_of(o, "sol1", at, &sol));
    add_choice(e, sol);
    QEP_TRY(text_of(o, "sol2", at, &sol));
    add_choice(e, sol);
    e->gold = -1;
    return qep_json_get(o, "label") ? number_of(o, "label", 0, 1, at, &e->gold) : QEP_OK;
}

static qep_status read_story(const qep_json *o, const qep_place *at, qep_example *e)
{
    static const char *const sentences[] = {"InputSentence1", "InputSentence2", "InputSentence3", "InputSentence4"};
    const char *s[4], *quiz;
    for (int i = 0; i < 4; i++) QEP_TRY(text_of(o, sentences[i], at, &s[i]));
    e->context = qep_strf("tasks.example", "%s %s %s %s", s[0], s[1], s[2], s[3]);
    make_room(e, 2);
    QEP_TRY(text_of(o, "RandomFifthSentenceQuiz1", at, &quiz));
    add_choice(e, quiz);
    QEP_TRY(text_of(o, "RandomFifthSentenceQuiz2", at, &quiz));
    add_choice(e, quiz);
    QEP_TRY(number_of(o, "AnswerRightEnding", 1, 2, at, &e->gold));
    e->gold--;
    return QEP_OK;
}

static qep_status read_lambada(const qep_json *o, const qep_place *at, qep_example *e)
{
    const char *text;
    QEP_TRY(text_of(o, "text", at, &text));
    const char *blank = strrchr(text, ' ');
    if (!blank || !blank[1]) return qep_task_fail(at, "no last word behind a blank in: ", "text");
    e->context = qep_strf("tasks.example", "%.*s", (int)(blank - text), text);
    make_room(e, 1);
    add_choice(e, blank + 1);
    e->gold = 0;
    return QEP_OK;
}

static const qep_task_format formats[] = {
    {"arc", "choices", false, read_arc},
    {"piqa", "goal", false, read_piqa},
    {"storycloze", "InputSentence1", false, read_story},
    {"lambada", "text", true, read_lambada},
};

const qep_task_format *qep_task_format_of(const qep_json *o)
{
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++)
        if (qep_json_get(o, formats[i].mark)) return &formats[i];
    return NULL;
}
