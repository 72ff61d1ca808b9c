/* Version and build of the program. SPDX-License-Identifier: Apache-2.0 */
#include "qep/base.h"
#include "version_gen.h"

const char qep_version[] = QEP_VERSION_TEXT;
const char qep_build_id[] = QEP_BUILD_TEXT;
