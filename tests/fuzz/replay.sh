#!/bin/sh
# The corpus of the fuzzers, former findings among it, through every parser. SPDX-License-Identifier: Apache-2.0
exec "${O:-build/release}/tests/fuzz/replay" tests/fuzz/corpus
