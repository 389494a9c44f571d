/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Pools of stream-ordered memory. A pool takes memory from its device in chunks and hands parts of
 * them out. A part that is freed in stream order can be used again at once in the same stream, and
 * everywhere once the stream has got there. A chunk without a part in use goes back at a
 * synchronisation if the pool keeps more than its release threshold, and whenever memory is short.
 *
 * All functions are safe from any thread.
 */
#ifndef SIMGPU_DRIVER_POOL_H
#define SIMGPU_DRIVER_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cuda.h>

#include "device.h"
#include "handle.h"

struct chunk;

#define POOL_REUSE_FLAGS 3 /* attributes 1 to 3 */

struct CUmemPoolHandle_st {
	struct handle handle;
	struct device *device; /* whose memory it is; of a pool of host memory: whose addresses */
	bool is_of_host;
	bool is_default;
	bool is_destroyed; /* by the program; it ends with its last part */
	int reuse[POOL_REUSE_FLAGS];
	uint64_t max_bytes; /* UINT64_MAX: as many as there are */
	uint64_t release_threshold;
	uint64_t reserved, reserved_high;
	uint64_t used, used_high; /* what is freed counts until its stream is there */
	struct chunk *chunks;
	CUmemoryPool next;
};

/* The default pool of a device, and the one that cuMemAllocAsync uses. The second can be changed to
 * another of that device: CUDA_ERROR_INVALID_VALUE for others. */
CUmemoryPool pool_default(struct device *device);
CUmemoryPool pool_current(struct device *device);
CUresult pool_set_current(struct device *device, CUmemoryPool pool);

/* Makes a pool of memory of the device, or of the host.
 * max_bytes  0: no limit
 * Returns    NULL when memory is out
 */
CUmemoryPool pool_create(struct device *device, bool is_of_host, uint64_t max_bytes);

/* Takes the pool from the program. It may not be a default one. */
void pool_destroy(CUmemoryPool pool);

/* Takes a part of `size` bytes in the order of `stream`. The driver lock is held.
 * Returns  CUDA_ERROR_OUT_OF_MEMORY when pool or device have no room
 */
CUresult pool_take(CUmemoryPool pool, size_t size, CUstream stream, CUdeviceptr *ret_address);

/* Frees the part that begins at `address`, in the order of `stream`; NULL: it is in use no more.
 * The driver lock is held.
 * Returns  CUDA_ERROR_INVALID_VALUE if no part begins there
 */
CUresult pool_free(CUmemoryPool pool, CUdeviceptr address, CUstream stream);

/* Gives chunks without parts in use back while `bytes_to_keep` bytes stay. */
void pool_trim(CUmemoryPool pool, uint64_t bytes_to_keep);

/* A stream has reached the free that is operation `seq`; in the effects thread. */
void pools_free_reached(uint64_t seq);

/* At a synchronisation: every pool gives back what is above its release threshold. */
void pools_release_excess(void);

/* All pools of the device give back what is not in use. Returns false if that is nothing. */
bool pools_give_up_unused(const struct device *device);

/* Frees the parts that were taken in streams of `ctx`, in which nothing runs any more. */
void pools_release_context(CUcontext ctx);

/* Held around reading or changing the numbers of a pool. */
void pools_lock(void);
void pools_unlock(void);

#endif
