/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Host twins: C functions that stand in for kernels on the simulated GPU.
 *
 * A kernel on simgpu only takes time. A program that also wants the kernel's results builds a
 * shared library with one function for each kernel, of the kernel's exact (mangled) name and the
 * signature of simgpu_twin, and names the library in SIMGPU_TWINS (several: separated by colons).
 * The first library that has the name wins. Kernels without a twin change no memory.
 *
 * The library is loaded at cuInit. The twin is called once for a launch, at the moment the launch
 * has ended on the simulated GPU and in the order in which launches end, in a thread of the
 * simulated driver: it must not call CUDA and must return. Device pointers are ordinary host
 * addresses: a twin reads and writes device memory through them. Which SMs the blocks of the launch
 * ran on is told, so that a kernel that notes its %smid can be modelled.
 *
 *	void saxpy(const struct simgpu_twin_launch *launch, void **params)
 *	{
 *		const uint32_t n = SIMGPU_PARAM(params, 0, uint32_t);
 *		const float a = SIMGPU_PARAM(params, 1, float);
 *		const float *x = SIMGPU_PARAM(params, 2, const float *);
 *		float *y = SIMGPU_PARAM(params, 3, float *);
 *
 *		for (uint32_t i = 0; i < n && i < simgpu_twin_threads(launch); i++)
 *			y[i] += a * x[i];
 *	}
 */
#ifndef SIMGPU_TWIN_H
#define SIMGPU_TWIN_H

#include <stdint.h>

struct simgpu_twin_launch {
	uint32_t grid[3];      /* blocks: x, y, z */
	uint32_t block[3];     /* threads of a block: x, y, z */
	uint32_t shared_bytes; /* dynamic shared memory of a block, as given at the launch */
	uint32_t param_count;  /* entries of params */
	uint32_t sm_words;     /* entries of sms */
	const uint64_t *sms;   /* on which its blocks ran: SM n is bit n % 64 of sms[n / 64] */
};

/* launch  valid during the call
 * params  as kernelParams of cuLaunchKernel: params[i] points to a copy of parameter i, made at
 *         the launch; valid during the call
 */
typedef void simgpu_twin(const struct simgpu_twin_launch *launch, void **params);

/* Parameter `index` of the kernel, which must be of `type`. */
#define SIMGPU_PARAM(params, index, type) (*(type const *)(params)[index])

/* Returns the number of threads of the whole launch. */
static inline uint64_t simgpu_twin_threads(const struct simgpu_twin_launch *launch)
{
	return (uint64_t)launch->grid[0] * launch->grid[1] * launch->grid[2] * launch->block[0] *
	       launch->block[1] * launch->block[2];
}

#endif
