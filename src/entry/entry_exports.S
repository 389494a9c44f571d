/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * One exported symbol a row of hooks.def and nvml_hooks.def, for programs that are linked with
 * libcuda and libnvidia-ml. Each is a
 * single jump through its slot: to the driver where the feature is off, to our body where it is
 * on. Every slot first leads to a stub that makes the start and then goes where the slot says,
 * so that no hook has to ask whether the start was made. In assembly, because the stub must hand
 * on arguments of every signature untouched.
 */
	.text

	.macro EXPORT symbol
	.balign 16
	.globl \symbol
	.type \symbol, %function
\symbol:
	.cfi_startproc
#if defined(__x86_64__)
#ifdef __CET__
	endbr64
#endif
	jmp *(entry_slots + 8 * row)(%rip)
	.cfi_endproc
	.size \symbol, . - \symbol
first_\symbol:
	movl $row, %r11d
	jmp first_call
#elif defined(__aarch64__)
	adrp x16, entry_slots + 8 * row
	add x16, x16, :lo12:entry_slots + 8 * row
	ldar x16, [x16] /* acquire: what the start wrote before this slot is seen by the body */
	br x16
	.cfi_endproc
	.size \symbol, . - \symbol
first_\symbol:
	mov w17, #row
	b first_call
#else
#error "cuslice runs on x86_64 and aarch64"
#endif
	.pushsection .data.rel.local, "aw"
	.quad first_\symbol
	.popsection
	.set row, row + 1
	.endm

	.pushsection .data.rel.local, "aw"
	.balign 8
	.globl entry_slots
	.hidden entry_slots
	.type entry_slots, %object
entry_slots:
	.popsection

	.set row, 0
#define HOOK(symbol, since, features) EXPORT symbol
#include "driver/hooks.def"
#undef HOOK
#define NVML_HOOK(symbol) EXPORT symbol
#include "driver/nvml_hooks.def"
#undef NVML_HOOK

/* void *entry_start_linked(unsigned row) says where this call is to go. */
	.balign 16
	.type first_call, %function
first_call:
	.cfi_startproc
#if defined(__x86_64__)
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
	mov %r11d, %edi
	call entry_start_linked
	mov %rax, %r11
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
	jmp *%r11
#else
	stp x29, x30, [sp, #-80]!
	.cfi_adjust_cfa_offset 80
	.cfi_rel_offset x29, 0
	.cfi_rel_offset x30, 8
	stp x0, x1, [sp, #16]
	stp x2, x3, [sp, #32]
	stp x4, x5, [sp, #48]
	stp x6, x7, [sp, #64]
	mov w0, w17
	bl entry_start_linked
	mov x16, x0
	ldp x0, x1, [sp, #16]
	ldp x2, x3, [sp, #32]
	ldp x4, x5, [sp, #48]
	ldp x6, x7, [sp, #64]
	ldp x29, x30, [sp], #80
	.cfi_adjust_cfa_offset -80
	br x16
#endif
	.cfi_endproc
	.size first_call, . - first_call

	.section .note.GNU-stack, "", %progbits
