/* Size of a tensor from its dtype and shape. SPDX-License-Identifier: Apache-2.0 */
#include "safetensors_priv.h"

bool qep_st_shape_bytes(qep_dtype dtype, int rank, const int64_t *shape, int64_t *bytes)
{
    int64_t elements = 1, bits;

    for (int i = 0; i < rank; i++)
        if (!qep_mul_i64(elements, shape[i], &elements))
            return false;
    if (!qep_mul_i64(elements, qep_dtype_bits(dtype), &bits) || bits % 8 != 0)
        return false;
    *bytes = bits / 8;
    return true;
}
