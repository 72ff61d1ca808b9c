/* Helpers around HDF5 calls: reasons of failures, types, access, attributes.
 * SPDX-License-Identifier: Apache-2.0 */
#include "store_priv.h"

#include "qep/par_mpi.h"

#include <stdarg.h>
#include <string.h>

/* Innermost entry of HDF5's error stack: the real reason. */
static herr_t take_first(unsigned n, const H5E_error2_t *error, void *user)
{
    if (n == 0 && error->desc)
        snprintf(user, 256, "%s", error->desc);
    return 0;
}

qep_status qep_store_fail(qep_status st, const char *fmt, ...)
{
    char text[1536], reason[256] = "no reason given";
    va_list ap;

    (void)H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, take_first, reason);
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return qep_fail(st, "%s (HDF5: %s)", text, reason);
}

void qep_store_quiet(void)
{
    (void)H5dont_atexit(); /* MPI_Abort of MPICH runs exit handlers, and HDF5's crashes on a file that would not close (qep_set_stuck) */
    (void)H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
}

/* bfloat16 as a proper float type: tools show numbers, reading as float converts. Sign in bit 15,
 * 8 bits of exponent from bit 7 with bias 127, 7 bits of fraction. */
static hid_t bf16_type(void)
{
    hid_t t = H5Tcopy(H5T_IEEE_F32LE);

    (void)H5Tset_fields(t, 15, 7, 8, 0, 7);
    (void)H5Tset_size(t, 2);
    (void)H5Tset_ebias(t, 127);
    return t;
}

hid_t qep_store_type(qep_dtype dtype)
{
    switch ((int)dtype) {
    case QEP_U8: return H5Tcopy(H5T_STD_U8LE);
    case QEP_I32: return H5Tcopy(H5T_STD_I32LE);
    case QEP_I64: return H5Tcopy(H5T_STD_I64LE);
    case QEP_U64: return H5Tcopy(H5T_STD_U64LE);
    case QEP_F32: return H5Tcopy(H5T_IEEE_F32LE);
    case QEP_F64: return H5Tcopy(H5T_IEEE_F64LE);
    case QEP_BF16: return bf16_type();
    default: QEP_BUG("the store does not hold %s", qep_dtype_name(dtype));
    }
}

hid_t qep_store_serial_access(void)
{
    hid_t access = H5Pcreate(H5P_FILE_ACCESS);

#if H5_VERSION_GE(1, 10, 7)
    /* parallel file systems are often mounted without locks, where opening would fail */
    (void)H5Pset_file_locking(access, false, true);
#endif
    return access;
}

hid_t qep_store_parallel_access(const qep_comm *c)
{
    hid_t access = H5Pcreate(H5P_FILE_ACCESS);

    (void)H5Pset_fapl_mpio(access, qep_comm_mpi(c), MPI_INFO_NULL);
    (void)H5Pset_alignment(access, QEP_STORE_ALIGNMENT, QEP_STORE_ALIGNMENT);
    /* from 1.8 on, all metadata carries checksums: damage shows as an error */
    (void)H5Pset_libver_bounds(access, H5F_LIBVER_V18, H5F_LIBVER_LATEST);
    (void)H5Pset_all_coll_metadata_ops(access, true);
    (void)H5Pset_coll_metadata_write(access, true);
    return access;
}

static hid_t text_type(size_t bytes)
{
    hid_t t = H5Tcopy(H5T_C_S1);

    (void)H5Tset_size(t, bytes);
    (void)H5Tset_cset(t, H5T_CSET_UTF8);
    (void)H5Tset_strpad(t, H5T_STR_NULLPAD);
    return t;
}

static bool set_attribute(hid_t object, const char *name, hid_t type, const void *value)
{
    hid_t space = H5Screate(H5S_SCALAR);
    hid_t a = H5Acreate2(object, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    bool ok = a >= 0 && H5Awrite(a, type, value) >= 0;
    hid_t reason = H5Eget_current_stack(); /* closing would clear it */

    if (a >= 0)
        H5Aclose(a);
    H5Sclose(space);
    H5Eset_current_stack(reason);
    return ok;
}

bool qep_store_set_text(hid_t object, const char *name, const char *text)
{
    hid_t type = text_type(strlen(text));
    bool ok = set_attribute(object, name, type, text);
    hid_t reason = H5Eget_current_stack();

    H5Tclose(type);
    H5Eset_current_stack(reason);
    return ok;
}

bool qep_store_set_u64(hid_t object, const char *name, uint64_t value)
{
    return set_attribute(object, name, H5T_STD_U64LE, &value);
}

bool qep_store_get_u64(hid_t object, const char *name, uint64_t *value)
{
    hid_t a, type;
    bool ok;

    if (H5Aexists(object, name) <= 0)
        return false;
    a = H5Aopen(object, name, H5P_DEFAULT);
    if (a < 0)
        return false;
    type = H5Aget_type(a);
    ok = type >= 0 && H5Tequal(type, H5T_STD_U64LE) > 0 &&
         H5Aget_storage_size(a) == sizeof *value && H5Aread(a, H5T_STD_U64LE, value) >= 0;
    if (type >= 0)
        H5Tclose(type);
    H5Aclose(a);
    return ok;
}

bool qep_store_is_text(hid_t object, const char *name, const char *text)
{
    char seen[64] = "";
    size_t n = strlen(text);
    hid_t a, type;
    bool same;

    QEP_REQUIRE(n < sizeof seen);
    if (H5Aexists(object, name) <= 0)
        return false;
    a = H5Aopen(object, name, H5P_DEFAULT);
    if (a < 0)
        return false;
    type = text_type(n);
    same = H5Aget_storage_size(a) == n && H5Aread(a, type, seen) >= 0 && memcmp(seen, text, n) == 0;
    H5Tclose(type);
    H5Aclose(a);
    return same;
}
