/* Which vectors the CPU has, which kernels OpenBLAS uses, and the way out when the environment forces slow ones or OpenBLAS does not know
 * the CPU. OpenBLAS reads OPENBLAS_CORETYPE in a constructor before main, so only a new start of the program helps. SPDX-License-Identifier: Apache-2.0 */
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "linalg_priv.h"

#if defined(__x86_64__)

qep_simd qep_cpu_simd(void)
{
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        return QEP_SIMD_AVX512;
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? QEP_SIMD_AVX2
                                                                           : QEP_SIMD_OTHER;
}

bool qep_cpu_has_bf16(void)
{
    __builtin_cpu_init();
    return qep_cpu_simd() == QEP_SIMD_AVX512 && __builtin_cpu_supports("avx512bf16");
}

#else

qep_simd qep_cpu_simd(void)
{
    return QEP_SIMD_OTHER;
}

bool qep_cpu_has_bf16(void)
{
    return false;
}

#endif

const char *qep_blas_core(void)
{
    char *(*name)(void) = (char *(*)(void))qep_find_function("openblas_get_corename");
    return name != NULL ? name() : NULL;
}

/* A core name that OpenBLAS may report on x86-64; names of later versions count as AVX-512 so as
 * never to warn wrongly. */
static qep_simd core_simd(const char *core)
{
    static const char *const avx2[] = {"Haswell", "Zen", "Excavator"};
    static const char *const older[] = {"Katmai",    "Coppermine",   "Northwood",   "Prescott",
                                        "Banias",    "Core2",        "Penryn",      "Dunnington",
                                        "Nehalem",   "Sandybridge",  "Atom",        "Athlon",
                                        "Opteron",   "Opteron_SSE3", "Barcelona",   "Bobcat",
                                        "Bulldozer", "Piledriver",   "Steamroller", "Nano"};
    for (size_t i = 0; i < sizeof avx2 / sizeof avx2[0]; i++)
        if (strcasecmp(core, avx2[i]) == 0) return QEP_SIMD_AVX2;
    for (size_t i = 0; i < sizeof older / sizeof older[0]; i++)
        if (strcasecmp(core, older[i]) == 0) return QEP_SIMD_OTHER;
    return QEP_SIMD_AVX512;
}

bool qep_blas_core_is_slow(void)
{
    const char *core = qep_blas_core();
    return core != NULL && core_simd(core) < qep_cpu_simd();
}

/* A core whose kernels every CPU with these vectors can run. */
static const char *core_for(qep_simd simd)
{
    return simd == QEP_SIMD_AVX512 ? "SkylakeX" : simd == QEP_SIMD_AVX2 ? "Haswell" : NULL;
}

/* By the path of the program: started as /proc/self/exe the process would be called "exe" in ps, top and pkill. Comes back only when the start failed:
 * the program then runs on with the slow kernels, and qep_linalg_warning says so. */
static void start_again(char **argv)
{
    char self[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n <= 0) return;
    self[n] = '\0';
    execv(self, argv);
    execv("/proc/self/exe", argv); /* its file was replaced meanwhile */
}

/* What the next start gets in OPENBLAS_CORETYPE: first nothing, so that OpenBLAS looks for itself; when it does not know the CPU (one newer
 * than the library falls back to Prescott) a core with the CPU's vectors. */
void qep_linalg_fix_core_type(char **argv)
{
    const char *asked = getenv("OPENBLAS_CORETYPE"), *before = getenv("QEP_REEXEC");
    const char *core = asked == NULL ? core_for(qep_cpu_simd()) : NULL;
    if (!qep_blas_core_is_slow()) return;
    if (before != NULL && (asked != NULL || strcmp(before, "1") != 0)) return;
    if (asked == NULL && core == NULL) return;
    if (setenv("QEP_REEXEC", asked == NULL ? "2" : "1", 1) != 0) return;
    if (asked != NULL)
        unsetenv("OPENBLAS_CORETYPE");
    else if (setenv("OPENBLAS_CORETYPE", core, 1) != 0)
        return;
    /* cache size given for the forced core; OpenBLAS finds the right one itself */
    unsetenv("OPENBLAS_L2_SIZE");
    start_again(argv);
}
