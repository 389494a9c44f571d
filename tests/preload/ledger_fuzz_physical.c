/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Virtual memory management: own physical memory, that of the partner, and multicast.
 */
#include "ledger_fuzz.h"

#include <unistd.h>

#define OWN    6
#define PLACES 2 /* that one may be mapped at */
#define MOST   4 /* units of one */
#define UNIT   PARTNER_UNIT
#define FD     CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR

static struct physical {
	CUmemGenericAllocationHandle handle;
	CUdeviceptr places[PLACES]; /* addresses that are its own */
	bool is_mapped[PLACES];
	unsigned references;
	uint64_t bytes; /* 0: none */
	bool is_charged;
} own[OWN], imported[PARTNER_EXPORTED];

static const CUmemAllocationProp exportable = {
	.type = CU_MEM_ALLOCATION_TYPE_PINNED,
	.requestedHandleTypes = FD,
	.location = {.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = 0},
};

static void reserve_places(struct physical *at)
{
	for (unsigned i = 0; i < PLACES; i++)
		must(fuzz.cu.cuMemAddressReserve(&at->places[i], MOST * UNIT, 0, 0, 0),
			"cuMemAddressReserve");
}

void physical_open(void)
{
	for (unsigned i = 0; i < OWN; i++)
		reserve_places(&own[i]);
	for (unsigned i = 0; i < PARTNER_EXPORTED; i++)
		reserve_places(&imported[i]);
}

static bool is_held(const struct physical *at)
{
	bool is_it = at->references > 0;

	for (unsigned i = 0; i < PLACES; i++)
		is_it = is_it || at->is_mapped[i];
	return is_it;
}

static bool map(struct physical *at, unsigned place)
{
	CUresult res = fuzz.cu.cuMemMap(at->places[place], at->bytes, 0, at->handle, 0);

	tell("mapped: %d", (int)res);
	if (!answered(res, "map", false))
		return false;
	at->is_mapped[place] = true;
	return true;
}

static void unmap(struct physical *at, unsigned place)
{
	must(fuzz.cu.cuMemUnmap(at->places[place], at->bytes), "cuMemUnmap");
	at->is_mapped[place] = false;
	tell("unmapped");
}

static void release(struct physical *at)
{
	must(fuzz.cu.cuMemRelease(at->handle), "cuMemRelease");
	at->references--;
	tell("released");
}

/* One more reference, by its own file descriptor, or by an address that it is mapped at. */
static void refer(struct draw *draw, struct physical *at, unsigned place)
{
	CUmemGenericAllocationHandle handle;
	int fd;

	if (at->is_mapped[place] && (at->references == 0 || draw_below(draw, 2) == 0)) {
		must(fuzz.cu.cuMemRetainAllocationHandle(
			     &handle, (void *)(uintptr_t)(at->places[place] + 1)),
			"retain");
		tell("retained");
		at->handle = handle;
		at->references++;
		return;
	}
	if (at->references == 0)
		return;
	must(fuzz.cu.cuMemExportToShareableHandle(&fd, at->handle, FD, 0), "export");
	close(fd);
	tell("exported");
}

static void change(struct draw *draw, struct physical *at)
{
	unsigned place = draw_below(draw, PLACES);

	switch (draw_below(draw, 4)) {
	case 0:
		refer(draw, at, place);
		break;
	case 1:
		if (at->references > 0)
			release(at);
		break;
	default:
		if (at->is_mapped[place])
			unmap(at, place);
		else if (at->references > 0)
			map(at, place);
		break;
	}
}

static void create(struct draw *draw, struct physical *at)
{
	CUmemAllocationProp prop = exportable;
	CUmemGenericAllocationHandle handle = 42;
	uint64_t bytes = (draw_below(draw, MOST) + 1) * UNIT;

	CUresult res = fuzz.cu.cuMemCreate(&handle, bytes, &prop, 0);
	tell("physical of %llu bytes: %d", (unsigned long long)bytes, (int)res);
	if (!answered(res, "physical", handle != 42))
		return;
	at->handle = handle;
	at->bytes = bytes;
	at->references = 1;
	fuzz.held_bytes += bytes;
}

void step_physical(struct draw *draw)
{
	struct physical *at = &own[draw_below(draw, OWN)];

	if (at->bytes == 0) {
		create(draw, at);
		return;
	}
	change(draw, at);
	if (is_held(at))
		return;
	fuzz.held_bytes -= at->bytes;
	at->bytes = 0;
}

static void import(struct physical *at, unsigned i)
{
	must(fuzz.cu.cuMemImportFromShareableHandle(
		     &at->handle, (void *)(intptr_t)partner.fds[i], FD),
		"import");
	at->bytes = partner_exported_bytes(i);
	at->references = 1;
	tell("physical memory %u of the partner imported", i);
}

/* It is charged from its first mapping on. */
static void note_charge(struct physical *at)
{
	bool is_mapped = false;

	for (unsigned i = 0; i < PLACES; i++)
		is_mapped = is_mapped || at->is_mapped[i];
	if (is_mapped && !at->is_charged) {
		at->is_charged = true;
		fuzz.imported_bytes += at->bytes;
	}
	if (is_held(at))
		return;
	if (at->is_charged)
		fuzz.imported_bytes -= at->bytes;
	at->is_charged = false;
	at->bytes = 0;
}

void step_imported(struct draw *draw)
{
	unsigned i = draw_below(draw, PARTNER_EXPORTED);
	struct physical *at = &imported[i];

	if (at->bytes == 0)
		import(at, i);
	else
		change(draw, at);
	note_charge(at);
}

static void end(struct physical *at)
{
	for (unsigned i = 0; i < PLACES; i++) {
		if (at->is_mapped[i])
			unmap(at, i);
	}
	while (at->references > 0)
		release(at);
}

void physical_end(void)
{
	for (unsigned i = 0; i < OWN; i++) {
		end(&own[i]);
		fuzz.held_bytes -= own[i].bytes;
		own[i].bytes = 0;
	}
}

void imported_end(void)
{
	for (unsigned i = 0; i < PARTNER_EXPORTED; i++) {
		end(&imported[i]);
		note_charge(&imported[i]);
	}
}

/* The whole life of an object: what is bound to it costs, it does not. */
void step_multicast(struct draw *draw)
{
	const CUmulticastObjectProp prop = {.numDevices = 1, .size = 2 * fuzz.quota / UNIT * UNIT};
	CUmemGenericAllocationHandle object, memory = 42;

	(void)draw;
	CUresult res = fuzz.cu.cuMemCreate(&memory, UNIT, &exportable, 0);
	tell("multicast: %d", (int)res);
	if (!answered(res, "multicast", memory != 42))
		return;
	must(fuzz.cu.cuMulticastCreate(&object, &prop), "cuMulticastCreate");
	must(fuzz.cu.cuMulticastAddDevice(object, 0), "cuMulticastAddDevice");
	must(fuzz.cu.cuMulticastBindMem(object, 0, memory, 0, UNIT, 0), "cuMulticastBindMem");
	must(fuzz.cu.cuMemRelease(object), "cuMemRelease");
	must(fuzz.cu.cuMemRelease(memory), "cuMemRelease");
}
