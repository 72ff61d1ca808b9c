/* bf16 products through oneDNN's matmul primitive (C API, version 2).
 *
 * A lane holds what one running product needs: a stream, primitives by shape, scratch. A call takes
 * a free lane, works on its own thread alone and puts the lane back, so any number of threads may
 * call at once and none waits for another's product. Primitives are built for one thread: oneDNN
 * asks OpenMP for the thread count while it builds one, and the count is part of the blocking it
 * chooses, which the bits must not depend on. Lanes live as long as the process (at most one per
 * thread), so they are not counted as qep_alloc blocks. SPDX-License-Identifier: Apache-2.0 */
#include <oneapi/dnnl/dnnl.h>
#include <stdlib.h>
#include <string.h>

#include "linalg_priv.h"

#if DNNL_VERSION_MAJOR != 2
#error "linalg needs oneDNN 2.x (Debian: libdnnl-dev)"
#endif

#define LANE_SLOTS 64

/* Wrong arguments or no memory inside oneDNN: nothing a caller could do. */
#define TRY_DNNL(call)                                                                             \
    do {                                                                                           \
        dnnl_status_t status_ = (call);                                                            \
        if (status_ != dnnl_success)                                                               \
            QEP_BUG("oneDNN: %s: status %d", #call, (int)status_);                                 \
    } while (0)

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

static product_lane *make_lane(void)
{
    if (product_engine == NULL) TRY_DNNL(dnnl_engine_create(&product_engine, dnnl_cpu, 0));
    product_lane *lane = calloc(1, sizeof *lane);
    if (lane == NULL) QEP_BUG("no memory for a bf16 lane (%zu bytes)", sizeof *lane);
    TRY_DNNL(dnnl_stream_create(&lane->stream, product_engine, dnnl_stream_default_flags));
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

/* a [m, k], b [k, n] in bf16, c [m, n] in f32, with the key's strides. */
static void describe_product(const product_key *q, dnnl_memory_desc_t *a, dnnl_memory_desc_t *b,
                             dnnl_memory_desc_t *c)
{
    const dnnl_dims_t size_a = {q->m, q->k}, size_b = {q->k, q->n}, size_c = {q->m, q->n};
    const dnnl_dims_t step_a = {q->a_row, q->a_col}, step_b = {q->b_row, q->b_col};
    const dnnl_dims_t step_c = {q->ldc, 1};
    TRY_DNNL(dnnl_memory_desc_init_by_strides(a, 2, size_a, dnnl_bf16, step_a));
    TRY_DNNL(dnnl_memory_desc_init_by_strides(b, 2, size_b, dnnl_bf16, step_b));
    TRY_DNNL(dnnl_memory_desc_init_by_strides(c, 2, size_c, dnnl_f32, step_c));
}

/* The primitive of s->key with its memory objects; false when this CPU has none, and only then:
 * another way for any other reason would silently change the bits. The scratch is ours (user mode):
 * the library's own belongs to the thread that built the primitive. */
static bool fill_slot(product_slot *s)
{
    dnnl_memory_desc_t a, b, c;
    dnnl_matmul_desc_t product;
    dnnl_primitive_attr_t attr;
    dnnl_primitive_desc_t pd;
    describe_product(&s->key, &a, &b, &c);
    TRY_DNNL(dnnl_matmul_desc_init(&product, &a, &b, NULL, &c));
    TRY_DNNL(dnnl_primitive_attr_create(&attr));
    TRY_DNNL(dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user));
    dnnl_status_t found = dnnl_primitive_desc_create(&pd, &product, attr, product_engine, NULL);
    dnnl_primitive_attr_destroy(attr);
    if (found == dnnl_unimplemented) return false;
    TRY_DNNL(found);
    const dnnl_memory_desc_t *scratch =
        dnnl_primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0);
    TRY_DNNL(dnnl_primitive_create(&s->primitive, pd));
    TRY_DNNL(dnnl_memory_create(&s->a, &a, product_engine, DNNL_MEMORY_NONE));
    TRY_DNNL(dnnl_memory_create(&s->b, &b, product_engine, DNNL_MEMORY_NONE));
    TRY_DNNL(dnnl_memory_create(&s->c, &c, product_engine, DNNL_MEMORY_NONE));
    TRY_DNNL(dnnl_memory_create(&s->scratch, scratch, product_engine, DNNL_MEMORY_ALLOCATE));
    dnnl_primitive_desc_destroy(pd);
    return true;
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

static void run_slot(product_lane *lane, const product_slot *s, float *c, const uint16_t *a,
                     const uint16_t *b)
{
    dnnl_exec_arg_t args[] = {{DNNL_ARG_SRC, s->a},
                              {DNNL_ARG_WEIGHTS, s->b},
                              {DNNL_ARG_DST, s->c},
                              {DNNL_ARG_SCRATCHPAD, s->scratch}};
    TRY_DNNL(dnnl_memory_set_data_handle(s->a, without_const(a)));
    TRY_DNNL(dnnl_memory_set_data_handle(s->b, without_const(b)));
    TRY_DNNL(dnnl_memory_set_data_handle(s->c, c));
    TRY_DNNL(dnnl_primitive_execute(s->primitive, lane->stream, 4, args));
    TRY_DNNL(dnnl_stream_wait(lane->stream));
}

void qep_product_bf16(float *c, int64_t ldc, qep_bf16_view a, qep_bf16_view b, int64_t m, int64_t n,
                      int64_t k)
{
    product_key key = {m, n, k, a.row, a.col, b.row, b.col, ldc};
    product_lane *lane = take_lane();
    int before = qep_linalg_one_thread();
    product_slot *s = find_slot(lane, &key);
    if (s == NULL) {
        if (lane->work == NULL) lane->work = calloc(QEP_BF16_WORK, sizeof *lane->work);
        if (lane->work == NULL) QEP_BUG("no memory for bf16 blocks");
        qep_product_bf16_by_f32(c, ldc, a, b, m, n, k, lane->work);
    } else {
        run_slot(lane, s, c, a.data, b.data);
    }
    qep_linalg_restore_threads(before);
    give_lane(lane);
}
