/* Start of linalg: number of threads, BLAS on one thread per call, and a line that says what runs.
 * SPDX-License-Identifier: Apache-2.0 */
#include <dlfcn.h>
#include <omp.h>
#include <oneapi/dnnl/dnnl.h>
#include <stdlib.h>
#include <string.h>

#include "linalg_priv.h"

/* Process-wide like the libraries they describe; written by qep_linalg_start only. */
static int linalg_threads = 1;
static char linalg_text[256];
static char linalg_advice[384];

qep_any_function qep_find_function(const char *name)
{
    qep_any_function f = NULL;
    void *self = dlopen(NULL, RTLD_NOW);
    if (self == NULL) return NULL;
    void *symbol = dlsym(self, name);
    dlclose(self);
    /* ISO C has no cast from object to function pointer; POSIX guarantees the same representation
     */
    memcpy(&f, &symbol, sizeof f);
    return f;
}

static void blas_use_one_thread(void)
{
    static const char *const setters[] = {"openblas_set_num_threads", "MKL_Set_Num_Threads"};
    for (size_t i = 0; i < sizeof setters / sizeof setters[0]; i++) {
        void (*set)(int) = (void (*)(int))qep_find_function(setters[i]);
        if (set != NULL) set(1);
    }
}

static const char *dnnl_isa_name(void)
{
    dnnl_cpu_isa_t isa = dnnl_get_effective_cpu_isa();
    if (isa == dnnl_cpu_isa_avx512_core_amx) return "AVX-512 with AMX";
    if (isa == dnnl_cpu_isa_avx512_core_bf16) return "AVX-512 with bf16";
    if (isa == dnnl_cpu_isa_avx512_core_vnni) return "AVX-512 with VNNI";
    if (isa == dnnl_cpu_isa_avx512_core) return "AVX-512";
    if (isa == dnnl_cpu_isa_avx2) return "AVX2";
    return "below AVX2 or unknown";
}

static void write_text(void)
{
    const char *(*config)(void) = (const char *(*)(void))qep_find_function("openblas_get_config");
    const char *core = qep_blas_core();
    const dnnl_version_t *v = dnnl_version();
    char blas[64] = "unknown BLAS";
    if (config != NULL) {
        /* "OpenBLAS 0.3.21 NO_LAPACKE DYNAMIC_ARCH ...": name and version */
        snprintf(blas, sizeof blas, "%s", config());
        char *second = strchr(blas, ' ');
        char *third = second != NULL ? strchr(second + 1, ' ') : NULL;
        if (third != NULL) *third = '\0';
    }
    snprintf(linalg_text, sizeof linalg_text, "%s, core type %s; oneDNN %d.%d.%d, %s", blas,
             core != NULL ? core : "unknown", v->major, v->minor, v->patch, dnnl_isa_name());
    linalg_advice[0] = '\0';
    if (!qep_blas_core_is_slow()) return;
    const char *asked = getenv("OPENBLAS_CORETYPE");
    snprintf(linalg_advice, sizeof linalg_advice,
             "OpenBLAS runs its %s kernels although this CPU has wider vectors; f32 and f64 "
             "products take about "
             "twice as long. %s%s%s",
             core,
             asked != NULL ? "Unset OPENBLAS_CORETYPE (it is \""
                           : "Use an OpenBLAS that knows this CPU",
             asked != NULL ? asked : "", asked != NULL ? "\") and start the program again." : ".");
}

void qep_linalg_start(int threads)
{
    QEP_REQUIRE(threads >= 1);
    linalg_threads = threads;
    omp_set_dynamic(0);
    /* a kernel called from a caller's parallel loop stays on the calling thread */
    omp_set_max_active_levels(1);
    /* before our own setting: OpenBLAS's openmp build passes the number on to omp_set_num_threads
     */
    blas_use_one_thread();
    omp_set_num_threads(threads);
    write_text();
}

int qep_linalg_threads(void)
{
    return linalg_threads;
}

static bool reproducible = true;

void qep_linalg_set_reproducible(bool yes)
{
    reproducible = yes;
}

bool qep_linalg_is_reproducible(void)
{
    return reproducible;
}

int qep_linalg_one_thread(void)
{
    int before = omp_get_max_threads();
    omp_set_num_threads(1);
    return before;
}

void qep_linalg_restore_threads(int before)
{
    omp_set_num_threads(before);
}

const char *qep_linalg_describe(void)
{
    return linalg_text;
}

const char *qep_linalg_warning(void)
{
    return linalg_advice[0] != '\0' ? linalg_advice : NULL;
}
