/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Whether a partition holds: a small kernel that notes its SMs, run in all the ways in which
 * programs bring work to a device.
 */
#ifndef CUSLICE_PARTITION_SELF_TEST_H
#define CUSLICE_PARTITION_SELF_TEST_H

#include <stdbool.h>

/* Returns NULL where it holds, else what went past it: static text that goes on from "for". Through
 * `driver`, as programs do, in the primary context, which is current; takes a few milliseconds.
 * device    whose partition it is
 * sm_count  of the partition
 * admit     called in the thread that the test makes, before it brings work and, with false, behind
 *           that: a thread of the program may have its number next
 * ret_nodes_hold  where NULL is returned: whether nodes that programs put into graphs stay in it
 * too
 */
const char *self_test(unsigned device, unsigned sm_count,
	void (*admit)(unsigned device, bool is_tester), bool *ret_nodes_hold);

#endif
