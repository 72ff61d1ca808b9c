/* Moves a slab of rows between memory and a 2-D dataset in pieces that HDF5 can take.
 * SPDX-License-Identifier: Apache-2.0 */
#include "store_priv.h"

/* One rectangle of the dataset, and the place of its first element in memory. */
typedef struct piece {
    hsize_t start[2], count[2];
    int64_t at; /* elements */
} piece;

typedef struct slab {
    hid_t set, type;
    int64_t cols, row0, n;
    int64_t piece_bytes;
} slab;

/* Piece number i: whole rows where several fit, else parts of one row; false behind the last. */
static bool get_piece(const slab *s, int64_t i, piece *p)
{
    int64_t per = qep_max_i64(s->piece_bytes / (int64_t)H5Tget_size(s->type), 1);
    int64_t rows = qep_max_i64(per / s->cols, 1);
    int64_t parts = rows > 1 ? 1 : qep_ceil_div(s->cols, per); /* of a row */
    int64_t row = i / parts * rows;
    int64_t col = i % parts * per;

    if (row >= s->n)
        return false;
    p->start[0] = (hsize_t)(s->row0 + row);
    p->start[1] = (hsize_t)col;
    p->count[0] = (hsize_t)qep_min_i64(rows, s->n - row);
    p->count[1] = (hsize_t)(parts == 1 ? s->cols : qep_min_i64(per, s->cols - col));
    p->at = row * s->cols + col;
    return true;
}

/* Exactly one of src and dst is not NULL. */
static bool move_piece(const slab *s, const piece *p, const char *src, char *dst)
{
    size_t at = (size_t)p->at * H5Tget_size(s->type);
    hid_t file = H5Dget_space(s->set), reason;
    hid_t memory = H5Screate_simple(2, p->count, NULL);
    bool ok = file >= 0 && memory >= 0 &&
              H5Sselect_hyperslab(file, H5S_SELECT_SET, p->start, NULL, p->count, NULL) >= 0;

    if (ok && src)
        ok = H5Dwrite(s->set, s->type, memory, file, H5P_DEFAULT, src + at) >= 0;
    else if (ok)
        ok = H5Dread(s->set, s->type, memory, file, H5P_DEFAULT, dst + at) >= 0;
    reason = H5Eget_current_stack(); /* closing would clear it */
    H5Sclose(memory);
    H5Sclose(file);
    H5Eset_current_stack(reason);
    return ok;
}

static bool move_all(const slab *s, const char *src, char *dst)
{
    piece p;

    if (s->n == 0 || s->cols == 0)
        return true;
    for (int64_t i = 0; get_piece(s, i, &p); i++)
        if (!move_piece(s, &p, src, dst))
            return false;
    return true;
}

bool qep_store_write_slab(hid_t set, hid_t type, int64_t cols, int64_t row0, int64_t n,
                          int64_t piece_bytes, const void *data)
{
    slab s = {.set = set, .type = type, .cols = cols, .row0 = row0, .n = n,
              .piece_bytes = piece_bytes};

    return move_all(&s, data, NULL);
}

bool qep_store_read_slab(hid_t set, hid_t type, int64_t cols, int64_t row0, int64_t n,
                         int64_t piece_bytes, void *data)
{
    slab s = {.set = set, .type = type, .cols = cols, .row0 = row0, .n = n,
              .piece_bytes = piece_bytes};

    return move_all(&s, NULL, data);
}
