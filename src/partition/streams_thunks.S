/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * beneath_<symbol> for the rows STREAM of streams.def: exchanges one argument and jumps on to the
 * driver. In assembly, because the signatures are many and nothing but that argument may change. An
 * argument that is passed on the stack is changed there: its place belongs to who is called.
 */
	.text

#if defined(__x86_64__)
	/* The saved argument at `position`; the registers lie below the return address, the first
	 * highest. */
#define SAVED_BYTES 56
	.macro EXCHANGE position, function
	.if \position == 0
	call \function
	.else
	.if \position <= 6
	.set place, 8 + 8 * (6 - \position)
	.else
	.set place, SAVED_BYTES + 8 * (\position - 6)
	.endif
	mov place(%rsp), %rdi
	call \function
	mov %rax, place(%rsp)
	.endif
	.endm

	.macro BENEATH symbol, position, function
	.balign 16
	.globl beneath_\symbol
	.hidden beneath_\symbol
	.type beneath_\symbol, %function
beneath_\symbol:
	.cfi_startproc
#ifdef __CET__
	endbr64
#endif
	push %rdi
	.cfi_adjust_cfa_offset 8
	push %rsi
	.cfi_adjust_cfa_offset 8
	push %rdx
	.cfi_adjust_cfa_offset 8
	push %rcx
	.cfi_adjust_cfa_offset 8
	push %r8
	.cfi_adjust_cfa_offset 8
	push %r9
	.cfi_adjust_cfa_offset 8
	sub $8, %rsp
	.cfi_adjust_cfa_offset 8
	EXCHANGE \position, \function
	add $8, %rsp
	.cfi_adjust_cfa_offset -8
	pop %r9
	.cfi_adjust_cfa_offset -8
	pop %r8
	.cfi_adjust_cfa_offset -8
	pop %rcx
	.cfi_adjust_cfa_offset -8
	pop %rdx
	.cfi_adjust_cfa_offset -8
	pop %rsi
	.cfi_adjust_cfa_offset -8
	pop %rdi
	.cfi_adjust_cfa_offset -8
	jmp *(streams_beneath + 8 * row)(%rip)
	.cfi_endproc
	.size beneath_\symbol, . - beneath_\symbol
	.set row, row + 1
	.endm
#elif defined(__aarch64__)
#define SAVED_BYTES 80
	.macro EXCHANGE position, function
	.if \position == 0
	bl \function
	.else
	.if \position <= 8
	.set place, 16 + 8 * (\position - 1)
	.else
	.set place, SAVED_BYTES + 8 * (\position - 9)
	.endif
	ldr x0, [sp, #place]
	bl \function
	str x0, [sp, #place]
	.endif
	.endm

	.macro BENEATH symbol, position, function
	.balign 16
	.globl beneath_\symbol
	.hidden beneath_\symbol
	.type beneath_\symbol, %function
beneath_\symbol:
	.cfi_startproc
	stp x29, x30, [sp, #-SAVED_BYTES]!
	.cfi_adjust_cfa_offset SAVED_BYTES
	.cfi_rel_offset x29, 0
	.cfi_rel_offset x30, 8
	stp x0, x1, [sp, #16]
	stp x2, x3, [sp, #32]
	stp x4, x5, [sp, #48]
	stp x6, x7, [sp, #64]
	EXCHANGE \position, \function
	ldp x0, x1, [sp, #16]
	ldp x2, x3, [sp, #32]
	ldp x4, x5, [sp, #48]
	ldp x6, x7, [sp, #64]
	ldp x29, x30, [sp], #SAVED_BYTES
	.cfi_adjust_cfa_offset -SAVED_BYTES
	.cfi_restore x29
	.cfi_restore x30
	adrp x16, streams_beneath + 8 * row
	add x16, x16, :lo12:streams_beneath + 8 * row
	ldr x16, [x16]
	br x16
	.cfi_endproc
	.size beneath_\symbol, . - beneath_\symbol
	.set row, row + 1
	.endm
#else
#error "cuslice runs on x86_64 and aarch64"
#endif

	.set row, 0
#define STREAM(symbol, position, kind) BENEATH symbol, position, streams_##kind
#define STREAM_IN_C(symbol)            .set row, row + 1
#include "partition/streams.def"
#undef STREAM
#undef STREAM_IN_C

	/* Nothing else hooks these. */
	.macro HOOK_TOO symbol
	.globl hook_\symbol
	.hidden hook_\symbol
	.type hook_\symbol, %function
	.set hook_\symbol, beneath_\symbol
	.endm
#define STREAM_HOOK(symbol) HOOK_TOO symbol
#define STREAM_HOOK_IN_C(symbol)
#include "partition/streams_hooks.def"
#undef STREAM_HOOK
#undef STREAM_HOOK_IN_C

	.section .note.GNU-stack, "", %progbits
