/* bf16 products through oneDNN's matmul primitive (C API, version 2).
 *
 * A lane holds what one running product needs: a stream, primitives by shape, scratch. A call takes a free lane, works
 * on its own thread alone and puts the lane back, so any number of threads may call at once and none waits for
 * another's product. Primitives are built for one thread: oneDNN asks OpenMP for the thread count while it builds one,
 * and the count is part of the blocking it chooses, which the bits must not depend on.
 * Lanes live as long as the process (at most one per thread), so they are not counted as qep_alloc blocks.
 * SPDX-License-Identifier: Apache-2.0 */
#include <oneapi/dnnl/dnnl.h>
#include <stdlib.h>
#include <string.h>

#include "linalg_priv.h"

#if DNNL_VERSION_MAJOR != 2
#error "linalg needs oneDNN 2.x (Debian: libdnnl-dev)"
#endif

#define LANE_SLOTS 64

/* All that a primitive depends on; compared as bytes (only int64_t, no padding). */
typedef struct product_key {
    int64_t m, n, k, a_row, a_col, b_row, b_col, ldc;
} product_key;

typedef struct product_slot {
    product_key key;
    uint64_t used; /* time of last use, 0: empty */
    dnnl_primitive_t primitive;
    dnnl_memory_t a, b, c, scratch;
} product_slot;

typedef struct product_lane {
    struct product_lane *next;
    dnnl_stream_t stream;
    uint64_t clock;
    float *work; /* of the way without oneDNN */
    product_slot slot[LANE_SLOTS];
} product_lane;

static dnnl_engine_t product_engine;
static product_lane *free_lanes;
static bool engine_refused; /* no CPU engine: everything takes the f32 way */

static product_lane *make_lane(void)
{
    if (product_engine == NULL && !engine_refused)
        engine_refused = dnnl_engine_create(&product_engine, dnnl_cpu, 0) != dnnl_success;
    product_lane *lane = calloc(1, sizeof *lane);
    if (lane == NULL) QEP_BUG("no memory for a bf16 lane (%zu bytes)", sizeof *lane);
    if (!engine_refused && dnnl_stream_create(&lane->stream, product_engine, dnnl_stream_default_flags) != dnnl_success)
        QEP_BUG("oneDNN: cannot create a stream");
    return lane;
}

static product_lane *take_lane(void)
{
    product_lane *lane;
#pragma omp critical(qep_linalg_lanes)
    {
        lane = free_lanes;
        if (lane != NULL) {
            free_lanes = lane->next;
        } else {
            lane = make_lane();
        }
    }
    return lane;
}

static void give_lane(product_lane *lane)
{
#pragma omp critical(qep_linalg_lanes)
    {
        lane->next = free_lanes;
        free_lanes = lane;
    }
}

static void clear_slot(product_slot *s)
{
    if (s->primitive != NULL) dnnl_primitive_destroy(s->primitive);
    dnnl_memory_t *all[] = {&s->a, &s->b, &s->c, &s->scratch};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        if (*all[i] != NULL) dnnl_memory_destroy(*all[i]);
    memset(s, 0, sizeof *s);
}

/* The primitive of s->key with its memory objects; false when this CPU has none. The scratch is ours (user mode):
 * the library's own belongs to the thread that built the primitive. */
static bool fill_slot(product_slot *s)
{
    const product_key *q = &s->key;
    dnnl_memory_desc_t a, b, c;
    dnnl_matmul_desc_t product;
    dnnl_primitive_attr_t attr = NULL;
    dnnl_primitive_desc_t pd = NULL;
    bool ok =
        dnnl_memory_desc_init_by_strides(&a, 2, (dnnl_dims_t){q->m, q->k}, dnnl_bf16,
                                         (dnnl_dims_t){q->a_row, q->a_col}) == dnnl_success &&
        dnnl_memory_desc_init_by_strides(&b, 2, (dnnl_dims_t){q->k, q->n}, dnnl_bf16,
                                         (dnnl_dims_t){q->b_row, q->b_col}) == dnnl_success &&
        dnnl_memory_desc_init_by_strides(&c, 2, (dnnl_dims_t){q->m, q->n}, dnnl_f32, (dnnl_dims_t){q->ldc, 1}) ==
            dnnl_success &&
        dnnl_matmul_desc_init(&product, &a, &b, NULL, &c) == dnnl_success &&
        dnnl_primitive_attr_create(&attr) == dnnl_success &&
        dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user) == dnnl_success &&
        dnnl_primitive_desc_create(&pd, &product, attr, product_engine, NULL) == dnnl_success &&
        dnnl_primitive_create(&s->primitive, pd) == dnnl_success &&
        dnnl_memory_create(&s->a, &a, product_engine, DNNL_MEMORY_NONE) == dnnl_success &&
        dnnl_memory_create(&s->b, &b, product_engine, DNNL_MEMORY_NONE) == dnnl_success &&
        dnnl_memory_create(&s->c, &c, product_engine, DNNL_MEMORY_NONE) == dnnl_success &&
        dnnl_memory_create(&s->scratch, dnnl_primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0), product_engine,
                           DNNL_MEMORY_ALLOCATE) == dnnl_success;
    if (pd != NULL) dnnl_primitive_desc_destroy(pd);
    if (attr != NULL) dnnl_primitive_attr_destroy(attr);
    return ok;
}

/* The slot of this key, built in place of the one unused longest when it is new. */
static product_slot *find_slot(product_lane *lane, const product_key *key)
{
    product_slot *oldest = &lane->slot[0];
    for (int i = 0; i < LANE_SLOTS; i++) {
        product_slot *s = &lane->slot[i];
        if (s->used != 0 && memcmp(&s->key, key, sizeof *key) == 0) {
            s->used = ++lane->clock;
            return s;
        }
        if (s->used < oldest->used) oldest = s;
    }
    clear_slot(oldest);
    oldest->key = *key;
    if (!fill_slot(oldest)) {
        clear_slot(oldest);
        return NULL;
    }
    oldest->used = ++lane->clock;
    return oldest;
}

/* oneDNN takes data pointers without const although it only reads the sources. */
static void *without_const(const uint16_t *p)
{
    void *q;
    memcpy(&q, &p, sizeof q);
    return q;
}

static bool run_slot(product_lane *lane, const product_slot *s, float *c, const uint16_t *a, const uint16_t *b)
{
    dnnl_exec_arg_t args[] = {{DNNL_ARG_SRC, s->a},
                              {DNNL_ARG_WEIGHTS, s->b},
                              {DNNL_ARG_DST, s->c},
                              {DNNL_ARG_SCRATCHPAD, s->scratch}};
    return dnnl_memory_set_data_handle(s->a, without_const(a)) == dnnl_success &&
           dnnl_memory_set_data_handle(s->b, without_const(b)) == dnnl_success &&
           dnnl_memory_set_data_handle(s->c, c) == dnnl_success &&
           dnnl_primitive_execute(s->primitive, lane->stream, 4, args) == dnnl_success &&
           dnnl_stream_wait(lane->stream) == dnnl_success;
}

void qep_product_bf16(float *c, int64_t ldc, qep_bf16_view a, qep_bf16_view b, int64_t m, int64_t n, int64_t k)
{
    product_key key = {m, n, k, a.row, a.col, b.row, b.col, ldc};
    product_lane *lane = take_lane();
    int before = qep_linalg_one_thread();
    product_slot *s = product_engine != NULL ? find_slot(lane, &key) : NULL;
    if (s == NULL) {
        if (lane->work == NULL) lane->work = calloc(QEP_BF16_WORK, sizeof *lane->work);
        if (lane->work == NULL) QEP_BUG("no memory for bf16 blocks");
        qep_product_bf16_by_f32(c, ldc, a, b, m, n, k, lane->work);
    } else if (!run_slot(lane, s, c, a.data, b.data)) {
        QEP_BUG("oneDNN: matmul %lld x %lld x %lld failed", (long long)m, (long long)n, (long long)k);
    }
    qep_linalg_restore_threads(before);
    give_lane(lane);
}
