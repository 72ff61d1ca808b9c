/* The parsers of everything that comes from outside, as functions of bytes: for libFuzzer (fuzz.c) and for replaying the corpus (replay.c).
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef FUZZ_TARGETS_H
#define FUZZ_TARGETS_H

#include <stddef.h>
#include <stdint.h>

/* Must take any bytes: parse or refuse them. A violated property or a failed allocation aborts. Its corpus is tests/fuzz/corpus/NAME. */
typedef struct fuzz_target {
    const char *name;
    void (*run)(const uint8_t *data, size_t bytes);
} fuzz_target;
extern const fuzz_target fuzz_targets[]; /* up to one without a name */
const fuzz_target *fuzz_find(const char *name); /* NULL: there is none */
void fuzz_start(void); /* once, before the first run */

#endif
