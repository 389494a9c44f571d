/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Shared memory by memfd.
 */
#include "shared.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <unistd.h>

int shared_create(const char *name, size_t size, void **ret_memory)
{
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return -1;
	if (ftruncate(fd, (off_t)size) == 0 &&
		fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0) {
		void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		if (memory != MAP_FAILED) {
			*ret_memory = memory;
			return fd;
		}
	}
	close(fd);
	return -1;
}
