/* Settings of a module as a gptq configuration knows them. SPDX-License-Identifier: Apache-2.0 */
#include "export_priv.h"

qep_settings qep_settings_of(const qep_export_linear *l)
{
    const qep_qspec *q = &l->spec;
    qep_settings s = {.bits = q->bits, .group_size = q->group_size, .sym = q->symmetric};

    /* Only groups that are formed in processing order give a g_idx other than k / group. */
    s.desc_act = qep_groups_follow_order(q) && qep_settings_width(&s, l->cols) < l->cols;
    return s;
}

int64_t qep_settings_width(const qep_settings *s, int64_t cols)
{
    return s->group_size == -1 ? cols : qep_min_i64(s->group_size, cols);
}

bool qep_settings_same(const qep_settings *a, const qep_settings *b, int64_t cols)
{
    return a->bits == b->bits && a->sym == b->sym && a->desc_act == b->desc_act &&
           qep_settings_width(a, cols) == qep_settings_width(b, cols);
}

static int64_t count_same(const qep_settings *s, const qep_export_linear *l, int64_t n)
{
    int64_t same = 0;

    for (int64_t i = 0; i < n; i++) {
        qep_settings own = qep_settings_of(&l[i]);

        same += l[i].quantized && qep_settings_same(s, &own, l[i].cols);
    }
    return same;
}

qep_settings qep_settings_common(const qep_export_linear *l, int64_t n)
{
    qep_settings best = {0};
    int64_t most = 0;

    for (int64_t i = 0; i < n; i++) {
        qep_settings s = qep_settings_of(&l[i]);
        int64_t same = l[i].quantized ? count_same(&s, l, n) : 0;

        if (same > most) {
            most = same;
            best = s;
        }
    }
    return best;
}
