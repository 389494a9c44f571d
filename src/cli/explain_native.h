/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The part of `cuslice explain` on limits of memory that the driver keeps itself, beside ours.
 */
#ifndef CUSLICE_CLI_EXPLAIN_NATIVE_H
#define CUSLICE_CLI_EXPLAIN_NATIVE_H

/* Nothing where there are none, and none were asked for. */
void explain_native_print(void);

/* The member `driver_limits` of the present object, which may be empty. */
void explain_native_json(void);

#endif
