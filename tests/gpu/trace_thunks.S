/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Thunks in assembly: arguments and stack reach the driver as the program left them.
 */
#include "trace.h"

	.hidden trace_targets
	.hidden trace_calls
	.globl trace_thunks
	.hidden trace_thunks
	.type trace_thunks, @object
	.text
	.balign TRACE_THUNK_SIZE
trace_thunks:
	.set slot, 0
	.rept TRACE_SLOTS
	.balign TRACE_THUNK_SIZE
	endbr64
	lock incq trace_calls + slot * 8(%rip)
	jmp *trace_targets + slot * 8(%rip)
	.set slot, slot + 1
	.endr
	.size trace_thunks, . - trace_thunks
	.section .note.GNU-stack, "", @progbits
