/* Seconds by name: parts of a phase, and what one rank does alone. SPDX-License-Identifier: Apache-2.0 */
#include "qep/base.h"

#include <string.h>

enum { MAX_PARTS = 96 };

/* Begun and not ended; those inside of the first are not counted. */
typedef struct open_part {
    const char *name;
    double begin;
    int depth;
} open_part;

/* Of the thread that set a phase: others have none, and nothing of theirs is counted. */
static _Thread_local const char *phase;
static _Thread_local open_part part, alone;
static qep_part_entry table[MAX_PARTS];
static int count;

const char *qep_parts_of(const char *name)
{
    const char *outer = phase;
    phase = name;
    return outer;
}

static void begin(open_part *p, const char *name)
{
    if (p->depth++ == 0) *p = (open_part){name, qep_now_s(), 1};
}

static void end(open_part *p, const char *of)
{
    if (--p->depth > 0) return;
    int i = 0;
    while (i < count && (strcmp(table[i].of, of) != 0 || strcmp(table[i].name, p->name) != 0)) i++;
    QEP_REQUIRE(i < MAX_PARTS && p->depth == 0);
    if (i == count) table[count++] = (qep_part_entry){of, p->name, 0};
    table[i].seconds += qep_now_s() - p->begin;
}

void qep_part_begin(const char *name)
{
    if (phase) begin(&part, name);
}

void qep_part_end(void)
{
    if (phase) end(&part, phase);
}

void qep_alone_begin(const char *name)
{
    begin(&alone, name);
}

qep_status qep_alone_end(qep_status st)
{
    end(&alone, QEP_ONE_RANK);
    return st;
}

const qep_part_entry *qep_part_at(int i)
{
    return i < count ? &table[i] : NULL;
}

double qep_part_seconds(const char *of, const char *name)
{
    double sum = 0;
    for (int i = 0; i < count; i++)
        if (strcmp(table[i].of, of) == 0 && (!name || strcmp(table[i].name, name) == 0)) sum += table[i].seconds;
    return sum;
}
