/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * beneath_<symbol> for the rows STREAM of streams.def: exchanges one argument and goes on to the
 * driver. In assembly, because the signatures are many and nothing but that argument may change.
 * Functions that bring work are called, and what they brought is noted when they have returned;
 * the others are jumped to, and an argument that is passed on the stack is changed there: its place
 * belongs to who is called. Neither happens where the answer is streams_refused.
 */
#define STREAM_CAPTURE_IMPLICIT 906

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

	.macro BEGIN_BENEATH symbol
	.balign 16
	.globl beneath_\symbol
	.hidden beneath_\symbol
	.type beneath_\symbol, %function
beneath_\symbol:
	.cfi_startproc
#ifdef __CET__
	endbr64
#endif
	.endm

	.macro END_BENEATH symbol
	.cfi_endproc
	.size beneath_\symbol, . - beneath_\symbol
	.set row, row + 1
	.endm

	.macro BY_JUMP symbol, position, function
	BEGIN_BENEATH \symbol
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
	lea streams_refused(%rip), %rcx
	cmp %rcx, %rax
	je 9f
	.cfi_remember_state
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
9:
	.cfi_restore_state
	mov $STREAM_CAPTURE_IMPLICIT, %eax
	add $SAVED_BYTES, %rsp
	.cfi_adjust_cfa_offset -SAVED_BYTES
	ret
	END_BENEATH \symbol
	.endm

	/* The stack's arguments once more, up to two behind the stream, the last first; an even
	 * number of words, which keeps the stack aligned. */
	.macro PUSH_ARGUMENTS position
	.set word, (\position - 6 + 3) / 2 * 2
	.rept (\position - 6 + 3) / 2 * 2
	.if word == \position - 6
	push -56(%rbp)
	.else
	push 8 + 8 * word(%rbp)
	.endif
	.set word, word - 1
	.endr
	.endm

	/* Below the frame pointer the six registers, the stream at 56, the result at 64. */
	.macro BY_CALL symbol, position, function
	BEGIN_BENEATH \symbol
	push %rbp
	.cfi_def_cfa_offset 16
	.cfi_offset %rbp, -16
	mov %rsp, %rbp
	.cfi_def_cfa_register %rbp
	push %rdi
	push %rsi
	push %rdx
	push %rcx
	push %r8
	push %r9
	sub $16, %rsp
	.if \position > 6
	mov 16 + 8 * (\position - 7)(%rbp), %rdi
	.elseif \position > 0
	mov -8 * \position(%rbp), %rdi
	.endif
	call \function
	lea streams_refused(%rip), %rcx
	cmp %rcx, %rax
	je 9f
	.if \position > 0
	mov %rax, -56(%rbp)
	.endif
	.if \position > 0 && \position <= 6
	mov %rax, -8 * \position(%rbp)
	.endif
	.if \position > 6
	PUSH_ARGUMENTS \position
	.endif
	mov -8(%rbp), %rdi
	mov -16(%rbp), %rsi
	mov -24(%rbp), %rdx
	mov -32(%rbp), %rcx
	mov -40(%rbp), %r8
	mov -48(%rbp), %r9
	call *(streams_beneath + 8 * row)(%rip)
	mov %rax, -64(%rbp)
	mov -56(%rbp), %rdi
	call \function\()_done
	mov -64(%rbp), %rax
8:
	.cfi_remember_state
	leave
	.cfi_def_cfa %rsp, 8
	ret
9:
	.cfi_restore_state
	mov $STREAM_CAPTURE_IMPLICIT, %eax
	jmp 8b
	END_BENEATH \symbol
	.endm
#elif defined(__aarch64__)
#define SAVED_BYTES 96
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

	.macro BEGIN_BENEATH symbol
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
	.endm

	.macro END_BENEATH symbol
	.cfi_endproc
	.size beneath_\symbol, . - beneath_\symbol
	.set row, row + 1
	.endm

	.macro RESTORE_ARGUMENTS base
	ldp x0, x1, [\base, #16]
	ldp x2, x3, [\base, #32]
	ldp x4, x5, [\base, #48]
	ldp x6, x7, [\base, #64]
	.endm

	.macro LOAD_BENEATH
	adrp x16, streams_beneath + 8 * row
	add x16, x16, :lo12:streams_beneath + 8 * row
	ldr x16, [x16]
	.endm

	.macro JUMP_IF_REFUSED
	adrp x9, streams_refused
	add x9, x9, :lo12:streams_refused
	cmp x0, x9
	b.eq 9f
	.endm

	.macro BY_JUMP symbol, position, function
	BEGIN_BENEATH \symbol
	EXCHANGE \position, \function
	JUMP_IF_REFUSED
	.cfi_remember_state
	RESTORE_ARGUMENTS sp
	ldp x29, x30, [sp], #SAVED_BYTES
	.cfi_adjust_cfa_offset -SAVED_BYTES
	.cfi_restore x29
	.cfi_restore x30
	LOAD_BENEATH
	br x16
9:
	.cfi_restore_state
	mov w0, #STREAM_CAPTURE_IMPLICIT
	ldp x29, x30, [sp], #SAVED_BYTES
	.cfi_adjust_cfa_offset -SAVED_BYTES
	.cfi_restore x29
	.cfi_restore x30
	ret
	END_BENEATH \symbol
	.endm

	/* The stack's arguments once more, up to two behind the stream. */
	.macro COPY_ARGUMENTS position
	sub sp, sp, #8 * ((\position - 8 + 3) / 2 * 2)
	.set word, 1
	.rept (\position - 8 + 3) / 2 * 2
	.if word == \position - 8
	ldr x9, [x29, #80]
	.else
	ldr x9, [x29, #SAVED_BYTES + 8 * (word - 1)]
	.endif
	str x9, [sp, #8 * (word - 1)]
	.set word, word + 1
	.endr
	.endm

	/* Above the frame pointer the eight registers, the stream at 80, the result at 88. */
	.macro BY_CALL symbol, position, function
	BEGIN_BENEATH \symbol
	mov x29, sp
	.cfi_def_cfa_register x29
	.if \position > 8
	ldr x0, [x29, #SAVED_BYTES + 8 * (\position - 9)]
	.elseif \position > 0
	ldr x0, [x29, #16 + 8 * (\position - 1)]
	.endif
	bl \function
	JUMP_IF_REFUSED
	.if \position > 0
	str x0, [x29, #80]
	.endif
	.if \position > 0 && \position <= 8
	str x0, [x29, #16 + 8 * (\position - 1)]
	.endif
	.if \position > 8
	COPY_ARGUMENTS \position
	.endif
	RESTORE_ARGUMENTS x29
	LOAD_BENEATH
	blr x16
	str x0, [x29, #88]
	ldr x0, [x29, #80]
	bl \function\()_done
	ldr x0, [x29, #88]
8:
	.cfi_remember_state
	mov sp, x29
	.cfi_def_cfa_register sp
	ldp x29, x30, [sp], #SAVED_BYTES
	.cfi_adjust_cfa_offset -SAVED_BYTES
	.cfi_restore x29
	.cfi_restore x30
	ret
9:
	.cfi_restore_state
	mov w0, #STREAM_CAPTURE_IMPLICIT
	b 8b
	END_BENEATH \symbol
	.endm
#else
#error "cuslice runs on x86_64 and aarch64"
#endif

	.set row, 0
	/* How a kind goes on. */
	.macro BENEATH_work symbol, position
	BY_CALL \symbol, \position, streams_work
	.endm
	.macro BENEATH_work_ptsz symbol, position
	BY_CALL \symbol, \position, streams_work_ptsz
	.endm
	.macro BENEATH_batch symbol, position
	BY_CALL \symbol, \position, streams_batch
	.endm
	.macro BENEATH_batch_ptsz symbol, position
	BY_CALL \symbol, \position, streams_batch_ptsz
	.endm
	.macro BENEATH_whole symbol, position
	BY_CALL \symbol, \position, streams_whole
	.endm
	.macro BENEATH_whole_ptsz symbol, position
	BY_CALL \symbol, \position, streams_whole_ptsz
	.endm
	.macro BENEATH_handle symbol, position
	BY_JUMP \symbol, \position, streams_handle
	.endm
	.macro BENEATH_handle_ptsz symbol, position
	BY_JUMP \symbol, \position, streams_handle_ptsz
	.endm
	.macro BENEATH_captured symbol, position
	BY_JUMP \symbol, \position, streams_captured
	.endm
	.macro BENEATH_captured_ptsz symbol, position
	BY_JUMP \symbol, \position, streams_captured_ptsz
	.endm
	.macro BENEATH_question symbol, position
	BY_JUMP \symbol, \position, streams_question
	.endm
	.macro BENEATH_question_ptsz symbol, position
	BY_JUMP \symbol, \position, streams_question_ptsz
	.endm
#define STREAM(symbol, position, kind) BENEATH_##kind symbol, position
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
#define STREAM_HOOK_IN_CALLS(symbol)
#define NODE_HOOK(symbol)
#include "partition/streams_hooks.def"
#undef STREAM_HOOK
#undef STREAM_HOOK_IN_C
#undef STREAM_HOOK_IN_CALLS
#undef NODE_HOOK

	.section .note.GNU-stack, "", %progbits
