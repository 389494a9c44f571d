/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * usage: client_last_one NUMBER FILE MIB ROUNDS
 *
 * Two processes, NUMBER 0 and 1, meet in FILE, which is theirs and zeroed, and in each round ask
 * for MIB at the same time, which is there for one of them only. Says how often it got it, and in
 * how many rounds not exactly one of the two did.
 */
#include "client.h"

#include <fcntl.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <unistd.h>

/* A process may be held up by others; a partner that has died is waited for no longer than that. */
#define PATIENCE_S 120

struct meeting {
	atomic_uint arrived;
	atomic_uint won[2]; /* rounds up to now */
};

static struct meeting *meet_in(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	must_be(fd >= 0 && ftruncate(fd, sizeof(struct meeting)) == 0, path);
	struct meeting *meeting =
		mmap(NULL, sizeof(*meeting), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	must_be(meeting != MAP_FAILED, "mmap");
	close(fd);
	return meeting;
}

/* Both have come to their `*times`th meeting. */
static void meet(struct meeting *meeting, unsigned *times)
{
	unsigned all = 2 * ++*times;

	atomic_fetch_add(&meeting->arrived, 1);
	for (unsigned i = 1; atomic_load(&meeting->arrived) < all; i++) {
		if (i % 64 == 0)
			sched_yield();
	}
}

/* Whether it got what there is. Who comes last to a meeting leaves it first, and would win each
 * time, so that is the one and the other in turn; and each then loses a random part of about a
 * microsecond. */
static bool race(const struct functions *cu, struct meeting *meeting, unsigned *times, bool is_late,
	size_t size, CUdeviceptr *ret_address)
{
	static unsigned random;

	for (unsigned i = 0; is_late && atomic_load(&meeting->arrived) % 2 == 0 && i < 100; i++)
		sched_yield();
	meet(meeting, times);
	random = random * 1103515245 + 12345 + (unsigned)getpid();
	for (unsigned i = random >> 16 & 1023; i > 0; i--)
		__asm__ volatile("");
	CUresult res = cu->cuMemAlloc_v2(ret_address, size);
	must_be(res == CUDA_SUCCESS || res == CUDA_ERROR_OUT_OF_MEMORY, "one of two answers");
	return res == CUDA_SUCCESS;
}

int main(int argc, char *argv[])
{
	unsigned long number = argument(argc, argv, 1, 0), rounds = argument(argc, argv, 4, 100);
	size_t size = argument(argc, argv, 3, 1) * MIB;
	unsigned times = 0, mistakes = 0, before[2] = {0};
	struct functions cu;
	CUcontext context;
	CUdeviceptr address;

	must_be(argc == 5 && number < 2, "the arguments");
	alarm(PATIENCE_S);
	functions_from_dlopen(&cu, "libcuda.so.1");
	must(cu.cuInit(0), "cuInit");
	must(cu.cuCtxCreate_v2(&context, 0, 0), "cuCtxCreate");
	struct meeting *meeting = meet_in(argv[2]);
	for (unsigned long i = 0; i < rounds; i++) {
		bool has_won = race(&cu, meeting, &times, i % 2 == number, size, &address);
		atomic_fetch_add(&meeting->won[number], has_won);
		meet(meeting, &times);
		unsigned now[2] = {atomic_load(&meeting->won[0]), atomic_load(&meeting->won[1])};
		mistakes += now[0] + now[1] != before[0] + before[1] + 1;
		before[0] = now[0];
		before[1] = now[1];
		if (has_won)
			must(cu.cuMemFree_v2(address), "cuMemFree");
		/* Nobody starts anew before the bytes are back. */
		meet(meeting, &times);
	}
	say("won %u", before[number]);
	say("mistakes %u", mistakes);
	return 0;
}
