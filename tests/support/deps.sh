#!/bin/sh
# What the build and the tests need, from Debian packages: quiet when all are there, else installed by apt-get.
# A system without these packages (a module stack, another distribution) passes when a small program that uses
# every library compiles and links. MPI MPICC CFLAGS PKGS BLAS_LIBS DNNL_LIBS come from the Makefile.
# SPDX-License-Identifier: Apache-2.0
set -u

case ${MPI:-openmpi} in
    mpich) mpi='libmpich-dev mpich libscalapack-mpich-dev libhdf5-mpich-dev' ;;
    *) mpi='libopenmpi-dev openmpi-bin libscalapack-openmpi-dev libhdf5-openmpi-dev' ;;
esac
needed="gcc libc6-dev make pkg-config $mpi libopenblas-openmp-dev libdnnl-dev libjansson-dev
  zlib1g-dev libpcre2-dev libutf8proc-dev libcmocka-dev shellcheck"

# ALSO: these packages instead, for a check that wants more than the build does.
needed=${ALSO:-$needed}

say() { echo "make deps: $*"; }

missing_packages() {
    for p in $needed; do
        # pkgconf takes the place of pkg-config, and has its name
        case $(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null) in
            installed) ;;
            *) printf '%s ' "$p" ;;
        esac
    done
}

# Compiles and links against every library, as the Makefile does.
probe() {
    dir=$(mktemp -d) || return 1
    cat >"$dir/probe.c" <<'C'
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cblas.h>
#include <cmocka.h>
#define PCRE2_CODE_UNIT_WIDTH 8
#include <hdf5.h>
#include <jansson.h>
#include <mpi.h>
#include <oneapi/dnnl/dnnl.h>
#include <pcre2.h>
#include <utf8proc.h>
#include <zlib.h>
void pdpotrf_(char *, int *, double *, int *, int *, int *, int *);
int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    int n = 0, desc[9] = {0}, info = 0;
    pdpotrf_("L", &n, 0, &n, &n, desc, &info);
    hid_t list = H5Pcreate(H5P_FILE_ACCESS);
    H5Pset_fapl_mpio(list, MPI_COMM_WORLD, MPI_INFO_NULL);
    json_decref(json_object());
    return (int)cblas_ddot(0, 0, 1, 0, 1) + dnnl_version()->major + pcre2_config(PCRE2_CONFIG_JIT, 0) + utf8proc_codepoint_valid(0) + (int)zlibCompileFlags();
}
C
    # shellcheck disable=SC2046,SC2086 # lists of flags
    ${MPICC:-mpicc} -fopenmp $(pkg-config --cflags $PKGS 2>/dev/null) ${CFLAGS:-} -o "$dir/probe" "$dir/probe.c" \
        $(pkg-config --libs $PKGS 2>/dev/null) $BLAS_LIBS $DNNL_LIBS -lcmocka -lm >"$dir/log" 2>&1
    status=$?
    rm -rf "$dir"
    return $status
}

if command -v dpkg-query >/dev/null 2>&1; then
    missing=$(missing_packages)
    [ -n "$missing" ] || exit 0
else
    missing=$needed
fi
[ -z "${ALSO:-}" ] && probe && exit 0

if ! command -v apt-get >/dev/null 2>&1; then
    say "a test program with MPI, ScaLAPACK, HDF5, BLAS, oneDNN, jansson, PCRE2, utf8proc and cmocka does not build with ${MPICC:-mpicc}," >&2
    say "and there is no apt-get to install them. INSTALL tells what is needed and how config.mk names it." >&2
    exit 1
fi
as_root=''
if [ "$(id -u)" != 0 ]; then
    if ! command -v sudo >/dev/null 2>&1; then
        say "these packages are missing, and installing them needs root; run as root: apt-get install $missing" >&2
        exit 1
    fi
    as_root=sudo
fi
say "installing with ${as_root:+sudo }apt-get, this may take some minutes: $missing"
log=$(mktemp) || exit 1
$as_root apt-get update -qq >"$log" 2>&1 || say "apt-get update failed; going on with the package lists that are there" >&2
# shellcheck disable=SC2086 # a list of names
if ! $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $missing >>"$log" 2>&1; then
    tail -n 20 "$log" >&2
    say "apt-get could not install: $missing" >&2
    say "install them by hand and try again (INSTALL); the whole log is $log" >&2
    exit 1
fi
rm -f "$log"
