/* Memory shared by the ranks of a node: life and fence. All of a node's memory belongs to its
 * first rank, the others map it. One passive epoch (lock_all) lasts for the window's whole life;
 * MPI_Win_sync on both sides of a barrier is then the fence that MPI 3.1 (11.5.4, 11.7) asks
 * for.
 * SPDX-License-Identifier: Apache-2.0 */
#include "window_priv.h"
#include <string.h>

enum { ALIGN = 64 };

/* No way on without this memory: the message goes out once and the job ends with exit code 3. */
static void end_unless_ok_all(qep_comm *c, qep_status local)
{
    qep_status st = qep_agree_all(c, local);
    if (st == QEP_OK) return;
    if (c->rank == 0) {
        qep_last_words("qep_mpi: %s [%s]", qep_error_text(), qep_error_where());
        qep_par_abort(qep_status_exit_code(st));
    }
    MPI_Barrier(c->job); /* waits for the end that rank 0 brings */
}

/* Allocates on the node's first rank, maps on the others; w->data is the same memory on all,
 * aligned. */
static void map_shared_all(qep_window *w)
{
    qep_comm *c = w->comm;
    const MPI_Aint wanted = c->node_rank == 0 ? (MPI_Aint)(w->bytes + ALIGN) : 0;
    void *base = NULL;
    MPI_Comm_set_errhandler(c->node, MPI_ERRORS_RETURN);
    int rc = MPI_Win_allocate_shared(wanted, 1, MPI_INFO_NULL, c->node, &base, &w->win);
    MPI_Comm_set_errhandler(c->node, c->on_error);
    if (rc != MPI_SUCCESS) { /* other ranks may hang inside the call: no agreement possible */
        char text[MPI_MAX_ERROR_STRING] = "?";
        int len = 0;
        MPI_Error_string(rc, text, &len);
        qep_last_words("qep_mpi: rank %d (%s): no shared memory for \"%s\" (%lld bytes): %s", c->rank, c->host, w->name, (long long)w->bytes, text);
        qep_par_abort(qep_status_exit_code(QEP_E_RESOURCE));
    }
    MPI_Win_set_errhandler(w->win, c->on_win_error);
    MPI_Aint size = 0;
    int unit = 0;
    MPI_Win_shared_query(w->win, 0, &size, &unit, &base);
    int64_t skip = (int64_t)((ALIGN - (uintptr_t)base % ALIGN) % ALIGN);
    MPI_Bcast(&skip, 1, MPI_INT64_T, 0, c->node);
    w->data = (char *)base + skip;
    QEP_REQUIRE((uintptr_t)w->data % ALIGN == 0); /* mappings begin on pages, alike on all ranks */
    MPI_Win_lock_all(MPI_MODE_NOCHECK, w->win);
}

/* Every rank of the node touches and zeroes its share, so that pages spread over the memory
 * controllers. Nodes of one rank (memory from qep_alloc) take part in the agreement only. */
static void fill_with_zeros_all(qep_window *w)
{
    qep_comm *c = w->comm;
    int64_t begin = 0, count = 0;
    if (w->win != MPI_WIN_NULL) qep_partition(w->bytes, c->node_size, c->node_rank, &begin, &count);
    end_unless_ok_all(c, qep_par_shm_populate(c, w->name, w->bytes, w->data + begin, count));
    qep_clear(w->data + begin, count);
    qep_window_sync_all(w);
}

qep_window *qep_window_create_all(qep_comm *c, const char *name, int64_t bytes)
{
    if (c->node_size > 1 && qep_mem_available() < 2 * bytes) qep_mem_release_kept(); /* before the first rank asks whether there is room */
    int64_t extent[2] = {bytes, -bytes};
    qep_max_i64_all(c, extent, 2);
    QEP_REQUIRE(bytes >= 0 && extent[0] == bytes && extent[1] == -bytes);
    qep_window *w = qep_alloc("par.window", 1, sizeof *w);
    *w = (qep_window){.comm = c, .name = name, .bytes = bytes, .win = MPI_WIN_NULL};
    bool shared = c->node_size > 1;
    bool first = c->node_rank == 0;
    end_unless_ok_all(c, shared && first ? qep_par_shm_room(c, name, bytes) : QEP_OK);
    if (shared) {
        map_shared_all(w);
        if (first) qep_mem_note(name, bytes);
    } else {
        w->data = qep_alloc(name, qep_max_i64(bytes, 1), 1);
    }
    fill_with_zeros_all(w);
    return w;
}

void qep_window_destroy_all(qep_window **window)
{
    qep_window *w = *window;
    if (!w) return;
    if (w->win != MPI_WIN_NULL) {
        qep_window_sync_all(w);
        MPI_Win_unlock_all(w->win);
        MPI_Win_free(&w->win);
        if (w->comm->node_rank == 0) qep_mem_note(w->name, -w->bytes);
    } else {
        qep_free(w->data);
    }
    qep_free(w);
    *window = NULL;
}

void *qep_window_data(qep_window *w)
{
    return w->data;
}

int64_t qep_window_bytes(const qep_window *w)
{
    return w->bytes;
}

void qep_window_sync_all(qep_window *w)
{
    if (w->win == MPI_WIN_NULL) return;
    MPI_Win_sync(w->win);
    MPI_Barrier(w->comm->node);
    MPI_Win_sync(w->win);
}
