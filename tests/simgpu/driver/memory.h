/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Who owns which addresses: device memory, managed memory, and host memory that CUDA knows of.
 *
 * Device memory is memory of this process: a device pointer is a host address. Each device has one
 * large mapping without reserve, which costs nothing until it is touched and stays one mapping
 * however many allocations lie in it. The bytes themselves are accounted by the server. The mapping
 * is of a file, so that other processes can map an allocation too (ipc.c). What is mapped by
 * virtual memory management (vmm.c) is known here as well.
 *
 * All functions are safe from any thread.
 */
#ifndef SIMGPU_DRIVER_MEMORY_H
#define SIMGPU_DRIVER_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cuda.h>

#include "treap.h"

struct device;

enum memory_kind {
	MEMORY_DEVICE,
	MEMORY_MANAGED,
	MEMORY_ARRAY,      /* behind an array: no program knows the address */
	MEMORY_EXTERNAL,   /* somebody else's, mapped here; device memory to the program */
	MEMORY_POOLED,     /* a part of a pool: pool.h */
	MEMORY_GRAPH,      /* made by a node of a graph: graph_memory.h */
	MEMORY_HOST,       /* allocated by the driver */
	MEMORY_REGISTERED, /* the program's own */
	MEMORY_MAPPED,     /* by cuMemMap */
	MEMORY_IMPORTED,   /* by cuIpcOpenMemHandle */
};

/* What is known of an allocation. */
struct memory {
	struct treap range;
	size_t size; /* as asked for; the range is rounded up */
	enum memory_kind kind;
	unsigned flags;        /* as given by the caller */
	CUcontext ctx;         /* NULL for what belongs to none: mapped memory */
	struct device *device; /* that it lies on; NULL: on none */
	struct arena *arena;   /* of what is taken from the device */
	unsigned access; /* of mapped memory: enum CUmemAccess_flags_enum, best of all devices */
	unsigned handle_types; /* of mapped memory: CUmemAllocationHandleType, that may be exported
				*/
	void *owner;           /* of a part: its pool, or its struct graph_memory */
	uint64_t block_id;     /* as the server knows it; 0: only this process holds it */
	unsigned opened;       /* of imported memory: how often */
	bool is_synchronous;   /* CU_POINTER_ATTRIBUTE_SYNC_MEMOPS */
	uint64_t id;
};

/* Takes `size` bytes of the device of `ctx`.
 * size       bytes; 0 is refused
 * low        below 4 GiB, for the entry points with 32-bit pointers
 * Returns    CUDA_ERROR_INVALID_VALUE or CUDA_ERROR_OUT_OF_MEMORY; *ret_address is unchanged then
 */
CUresult memory_reserve(CUcontext ctx, enum memory_kind kind, size_t size, unsigned flags, bool low,
	CUdeviceptr *ret_address);

/* Takes bytes of a device that no address stands for, or gives them back. Before the first fails,
 * pools give up what they only keep; the second asks no pool.
 * Returns  false if the device has no room
 */
bool memory_charge(const struct device *device, uint64_t bytes);
bool memory_charge_once(const struct device *device, uint64_t bytes);
void memory_discharge(const struct device *device, uint64_t bytes);

/* Gives the memory of the device, or mapped external memory, that begins at `address` back. The
 * caller has made sure that no operation uses it any more.
 * Returns  CUDA_ERROR_INVALID_VALUE if none begins there
 */
CUresult memory_release(CUdeviceptr address);

/* The same at stream order, in the effects thread: there is nobody to tell of an error. By its id
 * too: it may have ended with its context meanwhile, and another have its address. */
void memory_release_unordered(CUdeviceptr address, uint64_t id);

/* Makes `size` bytes at `address` known as host or external memory. Returns
 * CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED if a part of them is known. */
CUresult memory_add_host(
	CUcontext ctx, enum memory_kind kind, void *address, size_t size, unsigned flags);

/* Forgets the host memory of `kind` that begins at `address`.
 * Returns  false if there is none
 */
bool memory_remove_host(enum memory_kind kind, void *address, size_t *ret_size);

/* Copies what is known of the allocation that `address` lies in.
 * Returns  false if it lies in none
 */
bool memory_find(CUdeviceptr address, struct memory *ret_memory);

/* Sets whether calls without a stream wait for what they do to the allocation that `address` lies
 * in. */
void memory_set_synchronous(CUdeviceptr address, bool is_synchronous);

/* Returns whether `bytes` from `address` on lie in one allocation, or in mapped memory without a
 * gap, which may be accessed so. */
bool memory_holds(CUdeviceptr address, size_t bytes, bool is_write);

/* Makes mapped or imported memory known, or forgets what begins at `base`. `memory` is copied; its
 * range, kind and all that this kind has are set.
 * Returns  false where memory is out */
bool memory_add(const struct memory *memory);
void memory_remove(uintptr_t base);

/* Sets the access of the mapped memory that begins at `base`. */
void memory_set_access(uintptr_t base, unsigned access);

/* Makes the linear device allocation that begins at `address` known to the server as a block.
 * Returns  CUDA_ERROR_INVALID_VALUE where there is none that can be shared */
CUresult memory_share(CUdeviceptr address, struct memory *ret_memory);

/* Finds memory imported into `ctx` by its block and opens it once more; 0 where there is none. */
CUdeviceptr memory_open_again(CUcontext ctx, uint64_t block_id);

/* Closes imported memory. Returns false where none begins at `address`. */
bool memory_close(CUdeviceptr address);

/* Gives back what belongs to `ctx`, of every kind but parts. */
void memory_release_all(CUcontext ctx);

/* For those who keep memory of a device and hand it out in parts of their own. */

/* Takes a range of addresses of the device, or gives it back. Returns 0 where there is none. */
uintptr_t memory_take_addresses(struct device *device, uint64_t bytes);
void memory_give_addresses(struct device *device, uintptr_t base, uint64_t bytes);

/* Makes `range_bytes` from `base` on known as one allocation of `size` bytes, or forgets it.
 * kind     MEMORY_POOLED or MEMORY_GRAPH
 * owner    found again as memory.owner
 * Returns  false when memory is out
 */
bool memory_add_part(CUcontext ctx, struct device *device, enum memory_kind kind, uintptr_t base,
	size_t size, uint64_t range_bytes, void *owner);
void memory_remove_part(uintptr_t base);

#endif
