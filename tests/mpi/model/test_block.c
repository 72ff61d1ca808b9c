/* Block and head in windows of the real node.
 * SPDX-License-Identifier: Apache-2.0 */
#include "block_cases.h"
