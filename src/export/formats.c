/* The table of output formats. SPDX-License-Identifier: Apache-2.0 */
#include "export_priv.h"

#include <string.h>

static const qep_format *const formats[] = {
    &qep_format_gptq, &qep_format_gptq_v2, &qep_format_ct, &qep_format_awq,
    &qep_format_gguf, &qep_format_dense,
};

qep_status qep_format_find(const char *name, const qep_format **out)
{
    char names[128] = "";

    *out = NULL;
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        size_t at = strlen(names);

        if (strcmp(formats[i]->name, name) == 0) {
            *out = formats[i];
            return QEP_OK;
        }
        snprintf(names + at, sizeof names - at, "%s%s", i > 0 ? ", " : "", formats[i]->name);
    }
    return qep_fail(QEP_E_CONFIG, "output.format = %s: there is no such format; choose one of %s",
                    name, names);
}

qep_status qep_export_check_format(const char *name)
{
    const qep_format *f;
    return qep_format_find(name, &f);
}

int qep_export_zero_min(const char *format)
{
    const qep_format *f;

    if (qep_format_find(format, &f) != QEP_OK) { /* planning will refuse it */
        qep_error_clear();
        return 0;
    }
    return f->zero_min;
}
