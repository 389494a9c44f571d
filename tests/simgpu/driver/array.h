/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Arrays and mipmapped arrays: what they are, how their elements lie in memory, and what they take.
 *
 * Rows are padded to 512 bytes, the slices and layers of arrays with rows to 64 KiB. That is as
 * much of a GPU's layout as programs can tell from outside: an array takes more than its elements.
 * Sparse arrays and those with deferred mapping have no memory of their own.
 *
 * All functions are safe from any thread.
 */
#ifndef SIMGPU_DRIVER_ARRAY_H
#define SIMGPU_DRIVER_ARRAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cuda.h>

#include "handle.h"

/* How the elements of an array, or of one level, lie. In bytes. */
struct array_layout {
	size_t row, rows, slices; /* what can be addressed */
	size_t pitch, slice;      /* from row to row, from slice to slice */
};

/* Whose the memory is, and where; shared by an array and its parts. */
struct array_memory {
	CUcontext ctx;
	uint64_t ctx_id;  /* tells a context from a later one with the same handle */
	CUdeviceptr base; /* 0: none */
};

struct CUarray_st {
	struct handle handle;
	CUDA_ARRAY3D_DESCRIPTOR description;
	struct array_layout layout;
	struct array_memory memory;
	size_t offset; /* of the first element in the memory */
	CUarray parts; /* its planes, linked by their next_part */
	CUarray next_part;
	unsigned part; /* which plane or level it is, if it is one */
	bool is_part;
};

struct CUmipmappedArray_st {
	struct handle handle;
	CUDA_ARRAY3D_DESCRIPTOR description;
	unsigned levels;
	struct array_memory memory;
	CUarray parts; /* its levels */
};

/* Returns CUDA_ERROR_INVALID_VALUE where no such array can be. */
CUresult array_check(const CUDA_ARRAY3D_DESCRIPTOR *description);

/* The description of one level of a mipmapped array. */
CUDA_ARRAY3D_DESCRIPTOR array_level(const CUDA_ARRAY3D_DESCRIPTOR *description, unsigned level);

/* How many levels there can be. */
unsigned array_max_levels(const CUDA_ARRAY3D_DESCRIPTOR *description);

/* The layout of what array_check() allows. */
struct array_layout array_layout_of(const CUDA_ARRAY3D_DESCRIPTOR *description);

/* The bytes that `levels` levels of it take. */
size_t array_bytes(const CUDA_ARRAY3D_DESCRIPTOR *description, unsigned levels);

/* The bytes of one element. */
size_t array_element_bytes(const CUDA_ARRAY3D_DESCRIPTOR *description);

/* Returns CUDA_ERROR_CONTEXT_IS_DESTROYED where the memory's context has ended. */
CUresult array_check_context(const struct array_memory *memory);

/* Finds the memory behind an array.
 * Returns  CUDA_ERROR_INVALID_HANDLE, CUDA_ERROR_CONTEXT_IS_DESTROYED, or
 *          CUDA_ERROR_INVALID_VALUE where nothing is mapped
 */
CUresult array_find(CUarray array, uintptr_t *ret_start);

#endif
