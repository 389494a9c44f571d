/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The PTX of the examples' kernels as the string `kernels_ptx`. KERNELS_PTX is its path.
 */
	.section .rodata
	.globl kernels_ptx
	.type kernels_ptx, %object
kernels_ptx:
	.incbin KERNELS_PTX
	.byte 0
	.size kernels_ptx, . - kernels_ptx

	.section .note.GNU-stack, "", %progbits
