/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * What comes back to the device without a call of the program: linear memory that was freed in
 * stream order, once the stream is there, and what pools give back when the program synchronises.
 * The ledger hears of it when somebody asks.
 */
#ifndef CUSLICE_HOOKS_SETTLE_H
#define CUSLICE_HOOKS_SETTLE_H

#include <stdint.h>

/* Makes the ledger agree with what has come back on `device`. Does not wait for the device. Returns
 * the bytes that are being given back, in stream order or by other threads, and were not seen to be
 * back: some of them may be (ledger_leaving()).
 * Threads: any; not with the locks of pools, graphs or pending frees. */
uint64_t settle_what_came_back(unsigned device);

#endif
