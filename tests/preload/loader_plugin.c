/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * A library that is linked with libcuda and calls it in its constructor, while dlopen() holds the
 * loader's lock.
 */
#include "client.h"

#include <unistd.h>

__attribute__((constructor)) static void begin(void)
{
	size_t bytes;

	usleep(300 * 1000); /* long enough for the other thread to be in its first call */
	CUresult res = cuDeviceTotalMem_v2(&bytes, 0);
	say("constructor %s",
		res == CUDA_SUCCESS || res == CUDA_ERROR_NOT_INITIALIZED ? "answered" : "failed");
}
