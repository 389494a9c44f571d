/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The exported dlsym and dlvsym. Whatever is not plainly a question for a driver function leaves
 * by a jump, with the caller's return address in place: RTLD_NEXT and RTLD_DEFAULT are answered
 * by who asks, and a C function here would ask in our own name (compilers keep the tail call of a
 * C function at some optimisation levels only, and sanitizers lose it).
 *
 *   RTLD_NEXT                    -> jump to the real one, always
 *   name is not cu[A-Z]..., nvml... -> jump to the real one
 *   RTLD_DEFAULT, name unhooked  -> jump to the real one
 *   else                         -> jump to entry_dlsym() / entry_dlvsym() in entry.c
 */
	.text

	.macro LOOKUP name, routed, real, resolve
	.balign 16
	.globl \name
	.type \name, %function
\name:
	.cfi_startproc
#if defined(__x86_64__)
#ifdef __CET__
	endbr64
#endif
	cmp $-1, %rdi
	je 1f
	test %rsi, %rsi
	je 1f
	cmpb $'c', (%rsi)
	jne 2f
	cmpb $'u', 1(%rsi)
	jne 1f
	movzbl 2(%rsi), %eax
	subl $'A', %eax
	cmpl $25, %eax
	ja 1f
3:	test %rdi, %rdi
	jne \routed
	push %rsi
	.cfi_adjust_cfa_offset 8
	push %rdx
	.cfi_adjust_cfa_offset 8
	sub $8, %rsp
	.cfi_adjust_cfa_offset 8
	mov %rsi, %rdi
	call entry_is_hooked
	add $8, %rsp
	.cfi_adjust_cfa_offset -8
	pop %rdx
	.cfi_adjust_cfa_offset -8
	pop %rsi
	.cfi_adjust_cfa_offset -8
	xor %edi, %edi
	test %al, %al
	jne \routed
	jmp 1f
2:	cmpb $'n', (%rsi)
	jne 1f
	cmpb $'v', 1(%rsi)
	jne 1f
	cmpb $'m', 2(%rsi)
	jne 1f
	cmpb $'l', 3(%rsi)
	je 3b
1:	jmp *\real(%rip)
	.cfi_endproc
	.size \name, . - \name
\resolve:
	.cfi_startproc
	push %rdi
	.cfi_adjust_cfa_offset 8
	push %rsi
	.cfi_adjust_cfa_offset 8
	push %rdx
	.cfi_adjust_cfa_offset 8
	call real_dl_resolve
	pop %rdx
	.cfi_adjust_cfa_offset -8
	pop %rsi
	.cfi_adjust_cfa_offset -8
	pop %rdi
	.cfi_adjust_cfa_offset -8
	jmp *\real(%rip)
	.cfi_endproc
#elif defined(__aarch64__)
	cmn x0, #1
	b.eq 1f
	cbz x1, 1f
	ldrb w9, [x1]
	cmp w9, #'c'
	b.ne 2f
	ldrb w9, [x1, #1]
	cmp w9, #'u'
	b.ne 1f
	ldrb w9, [x1, #2]
	sub w9, w9, #'A'
	cmp w9, #25
	b.hi 1f
3:	cbnz x0, \routed
	stp x29, x30, [sp, #-32]!
	.cfi_adjust_cfa_offset 32
	.cfi_rel_offset x29, 0
	.cfi_rel_offset x30, 8
	stp x1, x2, [sp, #16]
	mov x0, x1
	bl entry_is_hooked
	mov w9, w0
	ldp x1, x2, [sp, #16]
	ldp x29, x30, [sp], #32
	.cfi_adjust_cfa_offset -32
	.cfi_restore x29
	.cfi_restore x30
	mov x0, #0
	tst w9, #0xff
	b.ne \routed
	b 1f
2:	cmp w9, #'n'
	b.ne 1f
	ldrb w9, [x1, #1]
	cmp w9, #'v'
	b.ne 1f
	ldrb w9, [x1, #2]
	cmp w9, #'m'
	b.ne 1f
	ldrb w9, [x1, #3]
	cmp w9, #'l'
	b.eq 3b
1:	adrp x16, \real
	ldr x16, [x16, :lo12:\real]
	br x16
	.cfi_endproc
	.size \name, . - \name
\resolve:
	.cfi_startproc
	stp x29, x30, [sp, #-48]!
	.cfi_adjust_cfa_offset 48
	.cfi_rel_offset x29, 0
	.cfi_rel_offset x30, 8
	stp x0, x1, [sp, #16]
	str x2, [sp, #32]
	bl real_dl_resolve
	ldp x0, x1, [sp, #16]
	ldr x2, [sp, #32]
	ldp x29, x30, [sp], #48
	.cfi_adjust_cfa_offset -48
	adrp x16, \real
	ldr x16, [x16, :lo12:\real]
	br x16
	.cfi_endproc
#endif
	.pushsection .data.rel.local, "aw"
	.balign 8
	.globl \real
	.hidden \real
	.type \real, %object
	.size \real, 8
\real:	.quad \resolve
	.popsection
	.endm

	LOOKUP dlsym, entry_dlsym, real_dlsym, resolve_dlsym
	LOOKUP dlvsym, entry_dlvsym, real_dlvsym, resolve_dlvsym

	.section .note.GNU-stack, "", %progbits
