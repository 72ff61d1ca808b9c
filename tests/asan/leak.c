/* The canary of "make asan": leaks on purpose, in a function whose name a careless suppression would cover.
 * "leak heap" leaks, "leak none" does not. SPDX-License-Identifier: Apache-2.0 */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void qep_mpi_buffer(size_t n);

__attribute__((noinline)) void qep_mpi_buffer(size_t n)
{
    char *volatile p = malloc(n);
    if (p) memset(p, 1, n);
    p = NULL;
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    if (argc > 1 && strcmp(argv[1], "heap") == 0) qep_mpi_buffer(4096);
    MPI_Barrier(MPI_COMM_WORLD);
    MPI_Finalize();
    return 0;
}
