/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * gpu-client KIND [QUOTA]: what a program sees of its device's memory that finds the driver as KIND
 * says. With a QUOTA in bytes it also allocates until it is refused, and after that once more.
 */
#include "client.h"
#include "probe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_BYTES (64ull << 20)
#define MAX_CHUNKS  4096
/* Beyond what there is, by more than any rounding. */
#define EXCESS_BYTES (64ull << 20)
#define DATA_BYTES   (1ull << 20)

static struct client_driver driver;

static void open_device(void)
{
	CUdevice device;
	CUcontext context;
	size_t free_bytes, total_bytes;

	MUST(driver.cuInit(0));
	MUST(driver.cuDeviceGet(&device, 0));
	MUST(driver.cuDeviceTotalMem(&total_bytes, device));
	probe_say("device_total_bytes", "%zu", total_bytes);
	MUST(driver.cuDevicePrimaryCtxRetain(&context, device));
	MUST(driver.cuCtxSetCurrent(context));
	MUST(driver.cuMemGetInfo(&free_bytes, &total_bytes));
	probe_say("total_bytes", "%zu", total_bytes);
	probe_say("free_bytes", "%zu", free_bytes);
}

/* More than the whole device has to be refused, with the output left alone. */
static void try_too_much(void)
{
	const CUdeviceptr untouched = 0x5a5a5a5a;
	CUdeviceptr address = untouched;
	size_t free_bytes, total_bytes;

	MUST(driver.cuMemGetInfo(&free_bytes, &total_bytes));
	CUresult res = driver.cuMemAlloc(&address, total_bytes + EXCESS_BYTES);
	probe_say_result("over", res);
	probe_say("over_untouched", "%s", address == untouched ? "yes" : "no");
}

static bool data_is_right(CUdeviceptr address)
{
	unsigned char *bytes = malloc(DATA_BYTES);

	if (bytes == NULL)
		return false;
	MUST(driver.cuMemsetD8(address, 0x7e, DATA_BYTES));
	MUST(driver.cuCtxSynchronize());
	MUST(driver.cuMemcpyDtoH(bytes, address, DATA_BYTES));
	bool is_right = true;
	for (size_t i = 0; i < DATA_BYTES; i++)
		is_right &= bytes[i] == 0x7e;
	free(bytes);
	return is_right;
}

/* Takes chunks until the driver says no, at most up to twice the quota. */
static void fill(uint64_t quota)
{
	static CUdeviceptr chunks[MAX_CHUNKS];
	CUresult res = CUDA_SUCCESS;
	size_t count = 0;

	while (count < MAX_CHUNKS && count * CHUNK_BYTES < 2 * quota) {
		res = driver.cuMemAlloc(&chunks[count], CHUNK_BYTES);
		if (res != CUDA_SUCCESS)
			break;
		count++;
	}
	probe_say("granted_bytes", "%llu", count * CHUNK_BYTES);
	probe_say_result("refused", res);
	probe_say("filled_data", "%s",
		count > 0 && data_is_right(chunks[count - 1]) ? "right" : "wrong");
	for (size_t i = 0; i < count; i++)
		MUST(driver.cuMemFree(chunks[i]));
}

int main(int argc, char *argv[])
{
	CUdeviceptr address;

	if (argc < 2 || argc > 3) {
		fprintf(stderr, "usage: %s KIND [QUOTA]\n", argv[0]);
		return 2;
	}
	if (!client_find(argv[1], &driver))
		return PROBE_BROKEN;
	open_device();
	try_too_much();
	if (argc == 3)
		fill(strtoull(argv[2], NULL, 10));
	MUST(driver.cuMemAlloc(&address, CHUNK_BYTES));
	probe_say("data", "%s", data_is_right(address) ? "right" : "wrong");
	MUST(driver.cuMemFree(address));
	probe_say("recovered", "yes");
	return 0;
}
