/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * What the C and the assembly of gpu-trace.so share: slots. The program gets the address of a
 * slot's thunk instead of the driver's function; the thunk counts and jumps on.
 */
#ifndef GPU_TRACE_H
#define GPU_TRACE_H

#define TRACE_SLOTS      1024
#define TRACE_THUNK_SIZE 32

#endif
