/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Addresses of null mode. Sizes are rounded up to powers of two from 2 MiB on, a class each. A
 * class has 8 TiB of addresses of its own, so that an address tells its class and freeing needs no
 * table. Each thread takes addresses in batches and keeps what it frees on a stack.
 */
#include "null.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "module.h"
#include "thread.h"

#define CLASSES          16
#define SMALLEST_SHIFT   21
#define CLASS_SHIFT      43
#define FIRST_ADDRESS    ((uint64_t)1 << 40)
#define BATCH            64u
#define NULL_TOTAL_BYTES ((size_t)80 << 30)
#define PITCH_ALIGN      512u

struct address_stack {
	uint64_t *addresses;
	size_t count, room;
	uint64_t next, end; /* of the batch */
};

struct null_memory {
	struct address_stack stacks[CLASSES];
};

static _Atomic uint64_t taken[CLASSES]; /* bytes of each class that batches took */

static struct wire_machine machine = {
	.version = WIRE_VERSION,
	.device_count = 1,
	.driver_version = 13000,
	.devices[0] =
		{
			.name = "simgpu null device",
			.uuid = {0x6e, 0x75, 0x6c, 0x6c, 1},
			.memory_bytes = NULL_TOTAL_BYTES,
			.granularity_bytes = (uint64_t)2 << 20,
			.pool_chunk_bytes = (uint64_t)2 << 20,
			.sm_count = 132,
			.cc_major = 9,
			.pci_bus = 1,
		},
};

struct wire_machine *null_machine(void)
{
	return &machine;
}

static unsigned class_of(size_t size)
{
	if (size <= (size_t)1 << SMALLEST_SHIFT)
		return 0;
	return 64u - SMALLEST_SHIFT - (unsigned)__builtin_clzll(size - 1);
}

static struct null_memory *memory_of(struct thread *thread)
{
	if (__builtin_expect(!thread->null_memory, 0))
		thread->null_memory = calloc(1, sizeof(*thread->null_memory));
	return thread->null_memory;
}

static uint64_t take_fresh(struct address_stack *stack, unsigned class)
{
	const uint64_t size = (uint64_t)1 << (SMALLEST_SHIFT + class);

	if (stack->next == stack->end) {
		const uint64_t offset = atomic_fetch_add_explicit(
			&taken[class], BATCH * size, memory_order_relaxed);

		stack->next = FIRST_ADDRESS + ((uint64_t) class << CLASS_SHIFT) + offset;
		stack->end = stack->next + BATCH * size;
	}
	const uint64_t address = stack->next;

	stack->next += size;
	return address;
}

CUresult null_alloc(CUdeviceptr *ret_address, size_t size)
{
	struct thread *thread = thread_self();
	struct null_memory *memory = thread ? memory_of(thread) : NULL;
	const unsigned class = class_of(size);

	if (!size || !ret_address)
		return CUDA_ERROR_INVALID_VALUE;
	if (!memory || class >= CLASSES)
		return CUDA_ERROR_OUT_OF_MEMORY;
	struct address_stack *stack = &memory->stacks[class];

	*ret_address = stack->count ? stack->addresses[--stack->count] : take_fresh(stack, class);
	return CUDA_SUCCESS;
}

CUresult null_alloc_pitch(CUdeviceptr *ret_address, size_t *ret_pitch, size_t width, size_t height)
{
	const size_t pitch = (width + PITCH_ALIGN - 1) / PITCH_ALIGN * PITCH_ALIGN;
	const CUresult result = null_alloc(ret_address, pitch * height);

	if (result == CUDA_SUCCESS)
		*ret_pitch = pitch;
	return result;
}

static bool make_room(struct address_stack *stack)
{
	const size_t room = stack->room ? 2 * stack->room : 1024;
	uint64_t *addresses = realloc(stack->addresses, room * sizeof(*addresses));

	if (!addresses)
		return false;
	stack->addresses = addresses;
	stack->room = room;
	return true;
}

CUresult null_free(CUdeviceptr address)
{
	struct thread *thread = thread_self();
	struct null_memory *memory = thread ? memory_of(thread) : NULL;
	const uint64_t class = (address - FIRST_ADDRESS) >> CLASS_SHIFT;

	if (!memory || class >= CLASSES)
		return CUDA_SUCCESS;
	struct address_stack *stack = &memory->stacks[class];

	if (stack->count < stack->room || make_room(stack))
		stack->addresses[stack->count++] = address;
	return CUDA_SUCCESS;
}

CUresult null_mem_info(size_t *ret_free, size_t *ret_total)
{
	if (ret_free)
		*ret_free = NULL_TOTAL_BYTES / 2;
	if (ret_total)
		*ret_total = NULL_TOTAL_BYTES;
	return CUDA_SUCCESS;
}

void null_memory_abandon(struct null_memory *memory)
{
	for (int i = 0; memory && i < CLASSES; i++)
		free(memory->stacks[i].addresses);
	free(memory);
}

static struct sim_kernel kernel = {.name = (char *)"null"};
static struct sim_module_image image = {.sm = 90};
static struct CUmod_st module = {.handle = {.kind = HANDLE_MODULE}, .image = &image};
static struct CUfunc_st function = {
	.handle = {.kind = HANDLE_FUNCTION}, .module = &module, .declared = &kernel};

CUmodule module_null(void)
{
	return &module;
}

CUfunction function_null(void)
{
	return &function;
}
