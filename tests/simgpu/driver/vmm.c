/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Physical allocations, reservations and mappings.
 */
#include "vmm.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "client.h"
#include "context.h"
#include "entry.h"
#include "memory.h"
#include "pool.h"
#include "thread.h"

struct mapping {
	struct treap range;
	struct physical *physical;
	unsigned char access[WIRE_MAX_DEVICES]; /* by ordinal: enum CUmemAccess_flags_enum */
	unsigned char host_access;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct treap *reservations, *mappings;

void vmm_lock(void)
{
	pthread_mutex_lock(&lock);
}

void vmm_unlock(void)
{
	pthread_mutex_unlock(&lock);
}

CUresult vmm_check(void)
{
	const struct thread *thread = thread_self();

	if (!thread)
		return CUDA_ERROR_OUT_OF_MEMORY;
	if (thread->is_effects_thread)
		return CUDA_ERROR_NOT_PERMITTED;
	return entry_is_null() ? CUDA_ERROR_NOT_SUPPORTED : CUDA_SUCCESS;
}

struct physical *vmm_adopt(
	struct device *device, size_t size, const CUmemAllocationProp *prop, uint64_t block_id)
{
	struct physical *physical = handle_create(HANDLE_PHYSICAL, sizeof(*physical));

	if (!physical)
		return NULL;
	physical->block_id = block_id;
	physical->device = device;
	physical->prop = *prop;
	physical->size = size;
	physical->refs = 1;
	return physical;
}

static bool ask_once(const struct wire_request *request, struct wire_reply *ret_reply)
{
	return client_ask(request, ret_reply) && ret_reply->status == WIRE_OK;
}

/* Where the device is full, pools give up what they do not use. */
static bool ask_for(const struct wire_request *request, struct wire_reply *ret_reply,
	const struct device *device)
{
	return ask_once(request, ret_reply) ||
	       (device && pools_give_up_unused(device) && ask_once(request, ret_reply));
}

CUresult vmm_create(struct device *device, size_t size, const CUmemAllocationProp *prop,
	struct physical **ret_physical)
{
	struct wire_request request = {
		.kind = WIRE_BLOCK_CREATE,
		.device = device ? device->index : 0,
		.bytes = size,
		.block = {.is_free = !device},
	};
	struct wire_reply reply;

	_Static_assert(sizeof(*prop) <= sizeof(request.block.note), "properties fit into a note");
	memcpy(request.block.note, prop, sizeof(*prop));
	if (!ask_for(&request, &reply, device))
		return CUDA_ERROR_OUT_OF_MEMORY;
	*ret_physical = vmm_adopt(device, size, prop, reply.block.id);
	if (*ret_physical)
		return CUDA_SUCCESS;
	vmm_drop_block(reply.block.id);
	return CUDA_ERROR_OUT_OF_MEMORY;
}

void vmm_drop_block(uint64_t block_id)
{
	const struct wire_request request = {.kind = WIRE_BLOCK_DROP, .block = {.id = block_id}};

	client_tell(&request);
}

struct physical *vmm_physical(CUmemGenericAllocationHandle handle)
{
	struct physical *physical = (void *)(uintptr_t)handle;

	return handle_is(physical, HANDLE_PHYSICAL) && physical->refs ? physical : NULL;
}

struct physical *vmm_physical_at(CUdeviceptr address)
{
	const struct mapping *mapping =
		(const struct mapping *)treap_find(mappings, (uintptr_t)address);

	return mapping ? mapping->physical : NULL;
}

void vmm_settle(struct physical *physical)
{
	if (physical->refs || physical->holds)
		return;
	if (physical->multicast)
		multicast_end(physical->multicast);
	vmm_drop_block(physical->block_id);
	handle_recycle(&physical->handle, HANDLE_PHYSICAL);
}

/* Addresses that nothing lies at. */
static void *map_nothing(void *hint, size_t size, int flags)
{
	void *ptr = mmap(
		hint, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | flags, -1, 0);

	return ptr == MAP_FAILED ? NULL : ptr;
}

/* Returns `size` bytes at a multiple of `alignment`, at the hint if that is free, or NULL. */
static void *find_addresses(size_t size, size_t alignment, CUdeviceptr hint)
{
	size_t all;

	if (hint && hint % alignment == 0) {
		void *ptr = map_nothing((void *)(uintptr_t)hint, size, MAP_FIXED_NOREPLACE);
		if (ptr == (void *)(uintptr_t)hint)
			return ptr;
		if (ptr)
			munmap(ptr, size);
	}
	if (__builtin_add_overflow(size, alignment, &all))
		return NULL;
	char *ptr = map_nothing(NULL, all, 0);

	if (!ptr)
		return NULL;
	const size_t before = (alignment - (uintptr_t)ptr % alignment) % alignment;

	if (before)
		munmap(ptr, before);
	if (all - before - size)
		munmap(ptr + before + size, all - before - size);
	return ptr + before;
}

CUresult cuMemAddressReserve(
	CUdeviceptr *ptr, size_t size, size_t alignment, CUdeviceptr addr, unsigned long long flags)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);

	ENTER(cuMemAddressReserve);
	if (!ptr || size == 0 || size % page || addr % page || flags ||
		(alignment & (alignment - 1)))
		return CUDA_ERROR_INVALID_VALUE;
	const CUresult result = vmm_check();

	if (result != CUDA_SUCCESS)
		return result;
	struct treap *range = calloc(1, sizeof(*range));
	void *start =
		range ? find_addresses(size,
				alignment > VMM_GRANULARITY ? alignment : VMM_GRANULARITY, addr)
		      : NULL;

	if (!start) {
		free(range);
		return CUDA_ERROR_OUT_OF_MEMORY;
	}
	range->base = (uintptr_t)start;
	range->size = size;
	vmm_lock();
	treap_insert(&reservations, range);
	vmm_unlock();
	*ptr = (uintptr_t)start;
	return CUDA_SUCCESS;
}

/* Whether anything is mapped in [address, address + size). The lock is held. */
static bool has_mapping(uintptr_t address, size_t size)
{
	const struct treap *next = treap_next(mappings, address);

	return treap_find(mappings, address) || (next && next->base - address < size);
}

CUresult cuMemAddressFree(CUdeviceptr ptr, size_t size)
{
	struct treap *range = NULL;

	ENTER(cuMemAddressFree);
	CUresult result = vmm_check();

	if (result != CUDA_SUCCESS)
		return result;
	vmm_lock();
	const struct treap *found = treap_find(reservations, (uintptr_t)ptr);

	if (found && found->base == ptr && found->size == size && !has_mapping(ptr, size))
		range = treap_remove(&reservations, (uintptr_t)ptr);
	if (range)
		munmap((void *)range->base, range->size);
	vmm_unlock();
	free(range);
	return range ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

/* Whether all of the range lies in one reservation, with nothing mapped in it. */
static bool is_free_range(uintptr_t address, size_t size)
{
	const struct treap *range = treap_find(reservations, address);

	return range && size <= range->size - (address - range->base) &&
	       !has_mapping(address, size);
}

/* Puts the bytes of `physical` at an address, not accessible yet. */
static bool put_file(const struct physical *physical, CUdeviceptr address, size_t size)
{
	const struct wire_request request = {
		.kind = WIRE_BLOCK_FILE, .block = {.id = physical->block_id}};
	struct wire_reply reply;
	int fd;

	if (!client_ask_fd(&request, &reply, &fd) || fd < 0)
		return false;
	void *start = (void *)(uintptr_t)address;
	const bool is_there = mmap(start, size, PROT_NONE, MAP_SHARED | MAP_FIXED | MAP_NORESERVE,
				      fd, 0) == start;

	close(fd);
	if (is_there) {
		madvise(start, size, MADV_DONTDUMP);
		madvise(start, size, MADV_DONTFORK);
	}
	return is_there;
}

static CUresult map_locked(struct physical *physical, CUdeviceptr address, size_t size)
{
	const struct memory memory = {
		.range = {.base = (uintptr_t)address, .size = size},
		.size = size,
		.kind = MEMORY_MAPPED,
		.device = physical->device,
		.handle_types = (unsigned)physical->prop.requestedHandleTypes,
		.block_id = physical->block_id,
	};
	struct mapping *mapping = calloc(1, sizeof(*mapping));

	if (!mapping || !put_file(physical, address, size)) {
		free(mapping);
		return CUDA_ERROR_OUT_OF_MEMORY;
	}
	if (!memory_add(&memory)) {
		map_nothing((void *)(uintptr_t)address, size, MAP_FIXED);
		free(mapping);
		return CUDA_ERROR_OUT_OF_MEMORY;
	}
	mapping->range.base = (uintptr_t)address;
	mapping->range.size = size;
	mapping->physical = physical;
	physical->holds++;
	treap_insert(&mappings, &mapping->range);
	return CUDA_SUCCESS;
}

CUresult cuMemMap(CUdeviceptr ptr, size_t size, size_t offset, CUmemGenericAllocationHandle handle,
	unsigned long long flags)
{
	ENTER(cuMemMap);
	CUresult result = vmm_check();

	if (result != CUDA_SUCCESS)
		return result;
	if (size == 0 || ptr % VMM_GRANULARITY || size % VMM_GRANULARITY || offset || flags)
		return CUDA_ERROR_INVALID_VALUE;
	vmm_lock();
	struct physical *physical = vmm_physical(handle);

	if (physical && physical->multicast)
		multicast_wait_complete(physical->multicast);
	if (!physical || size > physical->size || !is_free_range((uintptr_t)ptr, size))
		result = CUDA_ERROR_INVALID_VALUE;
	else
		result = map_locked(physical, ptr, size);
	vmm_unlock();
	return result;
}

/* Whether [address, address + size) is whole mappings without a gap. */
static bool is_mapped_range(uintptr_t address, size_t size)
{
	while (size > 0) {
		const struct treap *range = treap_find(mappings, address);

		if (!range || range->base != address || range->size > size)
			return false;
		address += range->size;
		size -= range->size;
	}
	return true;
}

static void unmap_one(struct mapping *mapping)
{
	memory_remove(mapping->range.base);
	map_nothing((void *)mapping->range.base, mapping->range.size, MAP_FIXED);
	mapping->physical->holds--;
	vmm_settle(mapping->physical);
	free(mapping);
}

CUresult cuMemUnmap(CUdeviceptr ptr, size_t size)
{
	ENTER(cuMemUnmap);
	CUresult result = vmm_check();

	/* What runs may use it: a real GPU would fault, we would. */
	if (result == CUDA_SUCCESS)
		result = contexts_wait();
	if (result != CUDA_SUCCESS)
		return result;
	vmm_lock();
	if (size == 0 || !is_mapped_range((uintptr_t)ptr, size))
		result = CUDA_ERROR_INVALID_VALUE;
	for (uintptr_t at = (uintptr_t)ptr; result == CUDA_SUCCESS && at < ptr + size;) {
		struct mapping *mapping = (struct mapping *)treap_remove(&mappings, at);

		at += mapping->range.size;
		unmap_one(mapping);
	}
	vmm_unlock();
	return result;
}

/* Where the access of a location is kept, or why it is not: memory of a device is for devices. */
static CUresult find_access(
	struct mapping *mapping, const CUmemLocation *location, unsigned char **ret_access)
{
	switch (location->type) {
	case CU_MEM_LOCATION_TYPE_DEVICE:
		if (!device_of(location->id))
			return CUDA_ERROR_INVALID_DEVICE;
		*ret_access = &mapping->access[location->id];
		return CUDA_SUCCESS;
	case CU_MEM_LOCATION_TYPE_HOST:
	case CU_MEM_LOCATION_TYPE_HOST_NUMA:
		*ret_access = &mapping->host_access;
		return mapping->physical->device ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
	default:
		return CUDA_ERROR_INVALID_VALUE;
	}
}

static bool is_access(CUmemAccess_flags flags)
{
	return flags == CU_MEM_ACCESS_FLAGS_PROT_NONE || flags == CU_MEM_ACCESS_FLAGS_PROT_READ ||
	       flags == CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
}

/* With is_trial nothing is changed. */
static CUresult set_access(
	struct mapping *mapping, const CUmemAccessDesc *desc, size_t count, bool is_trial)
{
	unsigned char *access;

	for (size_t i = 0; i < count; i++) {
		const CUresult result = find_access(mapping, &desc[i].location, &access);

		if (result != CUDA_SUCCESS)
			return result;
		if (!is_access(desc[i].flags))
			return CUDA_ERROR_INVALID_VALUE;
		if (!is_trial)
			*access = (unsigned char)desc[i].flags;
	}
	return CUDA_SUCCESS;
}

/* The process may do what the best of its devices may. */
static void apply_access(const struct mapping *mapping)
{
	unsigned best = mapping->host_access;

	for (int i = 0; i < WIRE_MAX_DEVICES; i++)
		best |= mapping->access[i];
	mprotect((void *)mapping->range.base, mapping->range.size,
		(best & 1 ? PROT_READ : 0) | (best & 2 ? PROT_WRITE : 0));
	memory_set_access(mapping->range.base, best);
}

CUresult cuMemSetAccess(CUdeviceptr ptr, size_t size, const CUmemAccessDesc *desc, size_t count)
{
	ENTER(cuMemSetAccess);
	CUresult result = vmm_check();

	if (result == CUDA_SUCCESS)
		result = contexts_wait();
	if (result != CUDA_SUCCESS)
		return result;
	if (size == 0 || !desc || count == 0)
		return CUDA_ERROR_INVALID_VALUE;
	vmm_lock();
	if (!is_mapped_range((uintptr_t)ptr, size))
		result = CUDA_ERROR_INVALID_VALUE;
	for (int trial = 1; trial >= 0; trial--) {
		for (uintptr_t at = (uintptr_t)ptr; result == CUDA_SUCCESS && at < ptr + size;) {
			struct mapping *mapping = (struct mapping *)treap_find(mappings, at);

			result = set_access(mapping, desc, count, trial);
			if (!trial)
				apply_access(mapping);
			at += mapping->range.size;
		}
	}
	vmm_unlock();
	return result;
}

CUresult cuMemGetAccess(unsigned long long *flags, const CUmemLocation *location, CUdeviceptr ptr)
{
	unsigned char *access;

	ENTER(cuMemGetAccess);
	CUresult result = vmm_check();

	if (result != CUDA_SUCCESS)
		return result;
	if (!flags || !location)
		return CUDA_ERROR_INVALID_VALUE;
	vmm_lock();
	struct mapping *mapping = (struct mapping *)treap_find(mappings, (uintptr_t)ptr);

	result = mapping ? find_access(mapping, location, &access) : CUDA_ERROR_INVALID_VALUE;
	if (result == CUDA_SUCCESS)
		*flags = *access;
	vmm_unlock();
	return result;
}
