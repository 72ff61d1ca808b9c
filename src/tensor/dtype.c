/* Element types: names and sizes. SPDX-License-Identifier: Apache-2.0 */
#include "qep/tensor.h"

#include <string.h>

typedef struct dtype_row {
    const char *name;
    int bits;
} dtype_row;

static const dtype_row rows[QEP_DTYPE_COUNT] = {
#define QEP_X(n, b) [QEP_##n] = {#n, b},
    QEP_DTYPE_LIST(QEP_X)
#undef QEP_X
};

static const dtype_row *row_of(qep_dtype t)
{
    if ((unsigned)t >= QEP_DTYPE_COUNT) QEP_BUG("%d is no element type", (int)t);
    return &rows[t];
}

int qep_dtype_bits(qep_dtype t)
{
    return row_of(t)->bits;
}

int64_t qep_dtype_size(qep_dtype t)
{
    return row_of(t)->bits / 8;
}

const char *qep_dtype_name(qep_dtype t)
{
    return row_of(t)->name;
}

bool qep_dtype_from_name(const char *name, qep_dtype *out)
{
    for (int i = 0; i < QEP_DTYPE_COUNT; i++) {
        if (strcmp(rows[i].name, name) == 0) {
            *out = (qep_dtype)i;
            return true;
        }
    }
    return false;
}

bool qep_dtype_is_float(qep_dtype t)
{
    return t == QEP_F16 || t == QEP_BF16 || t == QEP_F32 || t == QEP_F64;
}
