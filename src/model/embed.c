/* Rows of the embedding, straight from the file: a rank needs the rows of its own tokens once.
 * SPDX-License-Identifier: Apache-2.0 */
#include "model_priv.h"

#include <inttypes.h>

qep_status qep_model_embed(const qep_model *m, const int32_t *ids, int64_t T, float *x)
{
    for (int64_t t = 0; t < T; t++) {
        if (ids[t] < 0 || ids[t] >= m->arch.vocab)
            return qep_fail(QEP_E_INPUT,
                            "token %" PRId64 " of a sequence is %" PRId32
                            "; the model %s has the tokens "
                            "0..%" PRId64 " (is this the tokenizer of this model?)",
                            t, ids[t], m->path, m->arch.vocab - 1);
        float *row = x + t * m->arch.hidden;
        QEP_TRY(qep_st_read_rows_f32(m->files, m->embed, ids[t], 1, row));
        for (int64_t c = 0; m->arch.embed_scale > 1.0 && c < m->arch.hidden; c++) row[c] *= (float)m->arch.embed_scale;
    }
    return QEP_OK;
}
