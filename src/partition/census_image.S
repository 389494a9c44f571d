/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * census.fatbin: cubins for the architectures that are known, and PTX for those to come.
 */
	.section .rodata
	.balign 16
	.globl census_image
	.hidden census_image
	.type census_image, %object
census_image:
	.incbin "partition/census.fatbin"
	.size census_image, . - census_image

	.section .note.GNU-stack, "", %progbits
