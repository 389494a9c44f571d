/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Virtual memory management: physical allocations behind handles, reserved ranges of addresses, and
 * what of the one is mapped into the other.
 *
 * A physical allocation is a block of the server (../wire.h). It is given back when no reference to
 * its handle is left, nothing maps it, no multicast object has it bound, and no other process and
 * no exported fd holds it. Mapped memory is not accessible to the process either before
 * cuMemSetAccess has said so: a twin that touches it ends the process.
 */
#ifndef SIMGPU_DRIVER_VMM_H
#define SIMGPU_DRIVER_VMM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cuda.h>

#include "device.h"
#include "handle.h"

#define VMM_GRANULARITY ((size_t)2 << 20)

struct multicast;

struct physical {
	struct handle handle;
	uint64_t block_id;     /* as the server knows it */
	struct device *device; /* NULL: host memory, and multicast objects */
	CUmemAllocationProp prop;
	size_t size;
	unsigned refs;               /* of the handle */
	unsigned holds;              /* mappings, and multicast objects that have it bound */
	struct multicast *multicast; /* NULL: it is memory */
};

/* The lock over all of it. Never held while waiting for operations. */
void vmm_lock(void);
void vmm_unlock(void);

/* What every entry point says first: CUDA_SUCCESS, or why it cannot be called here and now. */
CUresult vmm_check(void);

/* Makes physical memory with one reference; `device` is NULL for none of any device.
 * Returns  CUDA_ERROR_OUT_OF_MEMORY */
CUresult vmm_create(struct device *device, size_t size, const CUmemAllocationProp *prop,
	struct physical **ret_physical);

/* The same of a block that the server has given this process a reference to. NULL without memory,
 * and the reference is still the caller's. */
struct physical *vmm_adopt(
	struct device *device, size_t size, const CUmemAllocationProp *prop, uint64_t block_id);

/* Gives a reference to a block back. */
void vmm_drop_block(uint64_t block_id);

/* The physical allocation of a handle with references left, or NULL. The lock is held. */
struct physical *vmm_physical(CUmemGenericAllocationHandle handle);

/* What is mapped at an address, or NULL. The lock is held. */
struct physical *vmm_physical_at(CUdeviceptr address);

/* Ends the allocation if nothing holds it any more. The lock is held. */
void vmm_settle(struct physical *physical);

/* Multicast: what goes when the object goes, under the lock; and waiting, before it is mapped, for
 * all its devices, under the lock, which is dropped meanwhile. */
void multicast_end(struct multicast *multicast);
void multicast_wait_complete(struct multicast *multicast);

#endif
