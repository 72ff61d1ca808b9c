/* base: what every other module stands on. No MPI, no mathematics.
 * Status codes and the process-wide error record, log, named allocation, checked sizes,
 * clock, hash, fault injection, version.
 * Invariant: the only mutable file-scope state of the program lives here (log, error record,
 * allocation table, table of seconds). SPDX-License-Identifier: Apache-2.0 */
#ifndef QEP_BASE_H
#define QEP_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* One list: name, exit code of the program, short text. */
#define QEP_STATUS_LIST(X)                                                              \
    X(QEP_OK, 0, "ok")                                                                  \
    X(QEP_E_CONFIG, 1, "wrong usage or configuration")                                  \
    X(QEP_E_INPUT, 2, "wrong input model or data")                                      \
    X(QEP_E_RESOURCE, 3, "not enough memory or disk")                                   \
    X(QEP_E_NUMERIC, 4, "numerical failure")                                            \
    X(QEP_E_IO, 5, "I/O error")                                                         \
    X(QEP_E_CHECKPOINT, 6, "the checkpoint cannot be used")                             \
    X(QEP_E_INTERNAL, 70, "internal error")                                             \
    X(QEP_E_STOPPED, 75, "stopped cleanly; submit the same command again")

typedef enum qep_status {
#define QEP_X(name, code, text) name,
    QEP_STATUS_LIST(QEP_X)
#undef QEP_X
} qep_status;

#define QEP_MUST_CHECK __attribute__((warn_unused_result))
#define QEP_PRINTF(f, a) __attribute__((format(printf, f, a)))
/* For functions whose loops gain by vectors of 512 bits: compiled twice, for AVX-512 and for the build's own target, and the loader picks one. Both do the same
 * operations in the same order (fused only where written), so both give the same bits. Sanitizers start after the loader's choice and would crash in it. */
#if defined(__x86_64__) && defined(__gnu_linux__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__) && !defined(QEP_DEBUG)
#define QEP_FOR_EACH_CPU __attribute__((target_clones("avx512f", "default")))
#else
#define QEP_FOR_EACH_CPU
#endif

int qep_status_exit_code(qep_status st);
const char *qep_status_text(qep_status st);

/* --- error record ------------------------------------------------------------------ */

/* Stores message (printf) with file:line in the error record, replacing what was there;
 * returns st. Local. Nobody prints on the way up; only main prints. */
#define qep_fail(st, ...) qep_fail_at(__FILE__, __LINE__, (st), __VA_ARGS__)
qep_status qep_fail_at(const char *file, int line, qep_status st, const char *fmt, ...) QEP_PRINTF(4, 5);
/* Puts one line of context ("block 12, mlp.down_proj") in front of the message; returns st. */
qep_status qep_context(qep_status st, const char *fmt, ...) QEP_PRINTF(2, 3);
/* The message (complete, printable, may have several lines); "" when none. Borrowed until the next failure. */
const char *qep_error_text(void);
/* file:line of the origin; "" when none. */
const char *qep_error_where(void);
void qep_error_set(qep_status st, const char *text, const char *where); /* used by par to spread a message */
void qep_error_clear(void);

/* Return on error; only where nothing is owned yet. */
#define QEP_TRY(expr)                                                                   \
    do {                                                                                \
        qep_status qep_try_st_ = (expr);                                                \
        if (qep_try_st_ != QEP_OK) return qep_try_st_;                                  \
    } while (0)
/* Jump to `done` with st set; for functions that own something. */
#define QEP_GO(st, expr)                                                                \
    do {                                                                                \
        (st) = (expr);                                                                  \
        if ((st) != QEP_OK) goto done;                                                  \
    } while (0)

/* Violated invariant: prints rank, file:line, message and ends the job (abort hook). */
#define QEP_BUG(...) qep_bug_at(__FILE__, __LINE__, __VA_ARGS__)
#define QEP_REQUIRE(cond)                                                               \
    do {                                                                                \
        if (!(cond)) QEP_BUG("violated: %s", #cond);                                    \
    } while (0)
void qep_bug_at(const char *file, int line, const char *fmt, ...) QEP_PRINTF(3, 4) __attribute__((noreturn));
/* hook(exit_code) must not return; par sets it to MPI_Abort. rank is printed in messages. */
void qep_set_abort_hook(void (*hook)(int exit_code), int rank);
/* Ends the job through the abort hook, or this process when there is none. */
void qep_end_job(int exit_code) __attribute__((noreturn));
/* A library could not let go of what it holds (HDF5 after a close that failed) and would crash when MPI is finalized: main then ends the job by
 * qep_end_job once everything is told. */
void qep_set_stuck(void);
bool qep_stuck(void);

/* --- log --------------------------------------------------------------------------- */

typedef enum qep_log_level { QEP_LOG_ERROR, QEP_LOG_WARN, QEP_LOG_INFO, QEP_LOG_DEBUG } qep_log_level;
/* The log is silent until started. root: this rank writes (others stay silent). */
void qep_log_start(bool root, qep_log_level level);
/* Appends the log to a file too (line buffered, time stamps); QEP_E_IO. Does nothing on other ranks. */
QEP_MUST_CHECK qep_status qep_log_file(const char *path);
void qep_log_close(void);
qep_log_level qep_log_get_level(void);
void qep_log(qep_log_level level, const char *fmt, ...) QEP_PRINTF(2, 3);
/* Of a rank that ends the job: to stderr whatever its rank, and into the log file where that is its own, if no other thread is in it. */
void qep_last_words(const char *fmt, ...) QEP_PRINTF(1, 2);
#define qep_info(...) qep_log(QEP_LOG_INFO, __VA_ARGS__)
#define qep_warn(...) qep_log(QEP_LOG_WARN, __VA_ARGS__)
#define qep_debug(...) qep_log(QEP_LOG_DEBUG, __VA_ARGS__)

/* --- memory ------------------------------------------------------------------------ */

/* Zeroed memory, 64-byte aligned, counted under `name` (string literal: "stats.tap").
 * count >= 0; count * size overflow or no memory: message with rank, name and bytes, the job ends with
 * exit code 3. Never NULL. Release with qep_free (NULL allowed). */
void *qep_alloc(const char *name, int64_t count, size_t size);
void *qep_realloc(void *p, const char *name, int64_t count, size_t size); /* new part zeroed; p NULL = qep_alloc */
void qep_free(void *p);
char *qep_strdup(const char *name, const char *s);
/* By all threads of the rank (inside a parallel region: by the calling one). bytes >= 0; the ranges of a copy do not overlap. */
void qep_copy(void *restrict to, const void *restrict from, int64_t bytes);
void qep_clear(void *p, int64_t bytes);
char *qep_strf(const char *name, const char *fmt, ...) QEP_PRINTF(2, 3); /* formatted string, qep_free */
/* Counts memory that somebody else allocates (shared windows). */
void qep_mem_note(const char *name, int64_t bytes_delta);
/* Pages of freed blocks from 16 MiB on stay with the process for the next ones, outside of the table and of qep_mem_now, but never make it larger
 * than it has been. This gives them back to the system: before somebody else allocates much. */
void qep_mem_release_kept(void);
typedef struct qep_mem_entry {
    char name[48];
    int64_t now, peak; /* bytes */
} qep_mem_entry;
/* Copies up to cap entries, sorted by name; returns the number of names known. */
int qep_mem_table(qep_mem_entry *out, int cap);
int64_t qep_mem_now(void);  /* bytes, all names */
int64_t qep_mem_peak(void); /* high-water mark of the sum */
int64_t qep_mem_available(void); /* bytes that this machine, or the job's control group on it, can still give without swapping; -1 when neither says */
/* What the control groups (versions 1 and 2) of a process leave it: proc names them, as /proc/self/cgroup does; sys: where they are, as /sys/fs/cgroup. -1: no limit. */
int64_t qep_mem_cgroup(const char *proc, const char *sys);
int64_t qep_mem_blocks(void); /* live qep_alloc blocks; 0 at a clean exit */

/* --- sizes ------------------------------------------------------------------------- */

/* false on overflow or a negative operand. */
bool qep_mul_i64(int64_t a, int64_t b, int64_t *out);
bool qep_add_i64(int64_t a, int64_t b, int64_t *out);
/* Narrowing at the doors of MPI, BLAS, ScaLAPACK; a value that does not fit is a bug. */
int qep_int(int64_t v);
int64_t qep_ceil_div(int64_t a, int64_t b);  /* a >= 0, b > 0 */
int64_t qep_round_up(int64_t a, int64_t b);
static inline int64_t qep_min_i64(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t qep_max_i64(int64_t a, int64_t b) { return a > b ? a : b; }

/* --- clock, hash, fault, version ------------------------------------------------------ */

double qep_now_s(void);       /* monotonic seconds */
int64_t qep_wall_time_s(void); /* seconds since the epoch */
/* "3 h 04 min", "41 s": for people. Returns buf. */
const char *qep_format_seconds(double s, char *buf, size_t cap);
const char *qep_format_bytes(int64_t bytes, char *buf, size_t cap); /* "1.25 GiB" */

/* Where the time of this rank goes, in seconds by name (literals): parts of the phase at hand, and what this rank does alone, while all others wait for it. Begun
 * inside of another one they are not counted: those of a phase add up to no more than it. For the thread that set the phase, outside of parallel regions. What
 * an error leaves without an end hides what follows. */
const char *qep_parts_of(const char *phase); /* returns the former one; NULL: none, whose parts are not counted */
void qep_part_begin(const char *name);
void qep_part_end(void);
#define QEP_ONE_RANK "one rank"
void qep_alone_begin(const char *name);      /* by the rank that works, not by those that wait */
qep_status qep_alone_end(qep_status st);     /* st */
#define QEP_ALONE(name, expr) (qep_alone_begin(name), qep_alone_end(expr))
typedef struct qep_part_entry {
    const char *of, *name; /* a phase or QEP_ONE_RANK */
    double seconds;
} qep_part_entry;
const qep_part_entry *qep_part_at(int i);                  /* in the order of their first ends; NULL behind the last */
double qep_part_seconds(const char *of, const char *name); /* 0: not known; name NULL: all of them */

/* 64-bit hash of bytes (own mixing function, little-endian words, same on every machine). */
uint64_t qep_hash64(const void *data, size_t bytes, uint64_t seed);
/* out[k] = that of seed[k], both in one pass: in hardly more time than one. */
void qep_hash64_pair(const void *data, size_t bytes, const uint64_t seed[2], uint64_t out[2]);

/* Fault injection for tests: QEP_FAULT="site:n[@rank]" makes the n-th (1-based) call for that site on that
 * rank (default 0) answer true. Sites are string literals "safetensors.read"; "alloc.NAME" is every qep_alloc of that name. Several, separated
 * by commas.
 * Always compiled in; one pointer test when the variable is unset. */
bool qep_fault(const char *site);
void qep_fault_init(int rank); /* reads the environment */

extern const char qep_version[];      /* "0.1.0" */
extern const char qep_build_id[];     /* git id, compiler and flags, one line */

/* --- files (POSIX, no MPI) ------------------------------------------------------------ */

/* Whole file in memory (qep_free) with a terminating NUL; *bytes without it. QEP_E_IO; `missing` when it does not exist,
 * is a directory or has more than max_bytes (INT64_MAX: no limit). */
QEP_MUST_CHECK qep_status qep_file_read(const char *path, int64_t max_bytes, qep_status missing, char **text, int64_t *bytes);
/* Writes path.tmp, fsync, rename, fsync of the directory. Fault site "file.write". */
QEP_MUST_CHECK qep_status qep_file_write(const char *path, const void *data, int64_t bytes);
/* Room on the disk for bytes > 0 from `from` on, and the file's size with it; an errno, 0 when done. On file systems without the call, the size alone, if what they say to have free suffices. */
int qep_file_reserve(int fd, int64_t from, int64_t bytes);
bool qep_file_exists(const char *path);
bool qep_dir_exists(const char *path);
char *qep_dir_existing(const char *path); /* the directory itself, or the nearest one above it that exists; qep_free */
QEP_MUST_CHECK qep_status qep_dir_make(const char *path); /* with parents; existing is fine */
QEP_MUST_CHECK qep_status qep_fsync_dir(const char *path);
QEP_MUST_CHECK qep_status qep_file_remove(const char *path); /* a missing file is fine */
char *qep_path_join(const char *dir, const char *name); /* an absolute name stays as it is; qep_free */
char *qep_path_dir(const char *path);                   /* "." when there is none; qep_free */
const char *qep_path_base(const char *path);            /* borrowed: behind the last '/' */

#endif
