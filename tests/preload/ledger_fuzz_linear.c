/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Linear memory, arrays, external memory, and memory of another process that is opened.
 */
#include "ledger_fuzz.h"

#include <sys/mman.h>
#include <unistd.h>

#define LINEAR 12
#define ARRAYS 6
#define UNIT   512u

static struct linear {
	CUdeviceptr address;
	uint64_t bytes;
	CUcontext context;
	bool is_low;     /* by the first entry points, which know 32 bits */
	bool is_managed; /* not to be freed in stream order */
} linear[LINEAR];

static uint64_t rounded(uint64_t bytes)
{
	return (bytes + UNIT - 1) / UNIT * UNIT;
}

static void take_linear(struct draw *draw, struct linear *at)
{
	CUdeviceptr address = 42;
	CUdeviceptr_v1 low = 42;
	size_t bytes = draw_bytes(draw, fuzz.quota / 3), pitch = 42, height = 0;
	unsigned low_pitch = 42, way = draw_below(draw, 8);
	CUresult res;

	if (way < 2) {
		height = draw_below(draw, 1000) + 1;
		bytes = bytes / height + 1;
	}
	if (way == 0)
		res = fuzz.cu.cuMemAllocPitch_v2(&address, &pitch, bytes, height, 4);
	else if (way == 1)
		res = fuzz.cu.cuMemAllocPitch(
			&low, &low_pitch, (unsigned)bytes, (unsigned)height, 4);
	else if (way == 2)
		res = fuzz.cu.cuMemAllocManaged(&address, bytes, CU_MEM_ATTACH_GLOBAL);
	else if (way == 3)
		res = fuzz.cu.cuMemAlloc(&low, (unsigned)bytes);
	else
		res = fuzz.cu.cuMemAlloc_v2(&address, bytes);
	tell("linear by way %u, %zu bytes: %d", way, bytes, (int)res);
	if (!answered(
		    res, "linear", address != 42 || low != 42 || pitch != 42 || low_pitch != 42)) {
		if (way == 2 || way > 3)
			refused_bytes(rounded(bytes));
		return;
	}
	if (way < 2)
		bytes = (way == 0 ? pitch : low_pitch) * height;
	*at = (struct linear){.address = way == 1 || way == 3 ? low : address,
		.bytes = rounded(bytes),
		.context = current_context(),
		.is_low = way == 1 || way == 3,
		.is_managed = way == 2};
	fuzz.held_bytes += at->bytes;
}

static CUresult free_one(struct draw *draw, struct linear *at, unsigned way)
{
	unsigned stream = draw_below(draw, STREAMS);

	if (at->is_low && way == 0)
		return fuzz.cu.cuMemFree((CUdeviceptr_v1)at->address);
	if (way != 1 || at->is_managed)
		return fuzz.cu.cuMemFree_v2(at->address);
	CUresult res = fuzz.cu.cuMemFreeAsync(at->address, fuzz.streams[stream]);
	if (res == CUDA_SUCCESS)
		fuzz.pending_bytes += at->bytes;
	return res;
}

static void give_linear(struct draw *draw, struct linear *at)
{
	unsigned way = draw_below(draw, 3);

	if (fuzz.step >= fuzz.behind_at) {
		fuzz.behind_at = UINT64_MAX;
		free_behind(at->address);
		tell("linear of %llu bytes freed behind the library",
			(unsigned long long)at->bytes);
	} else {
		tell("linear of %llu bytes freed by way %u", (unsigned long long)at->bytes, way);
		must(free_one(draw, at, way), "free of linear memory");
	}
	if (fuzz.step >= fuzz.forget_at)
		fuzz.forget_at = UINT64_MAX;
	else
		fuzz.held_bytes -= at->bytes;
	at->address = 0;
}

void step_linear(struct draw *draw)
{
	struct linear *at = &linear[draw_below(draw, LINEAR)];

	if (at->address == 0)
		take_linear(draw, at);
	else
		give_linear(draw, at);
}

void linear_lose(CUcontext context)
{
	for (unsigned i = 0; i < LINEAR; i++) {
		if (linear[i].address == 0 || linear[i].context != context)
			continue;
		fuzz.held_bytes -= linear[i].bytes;
		linear[i].address = 0;
	}
}

void linear_end(void)
{
	for (unsigned i = 0; i < LINEAR; i++) {
		if (linear[i].address == 0)
			continue;
		must(fuzz.cu.cuMemFree_v2(linear[i].address), "free");
		fuzz.held_bytes -= linear[i].bytes;
		linear[i].address = 0;
	}
}

static struct shape {
	CUDA_ARRAY3D_DESCRIPTOR description;
	unsigned levels; /* 0: no mipmap */
	uint64_t bytes;  /* as the machine took for the first one */
} shapes[] = {
	{{1000, 1000, 0, CU_AD_FORMAT_FLOAT, 4, 0}, 0, 0},
	{{1, 1000, 0, CU_AD_FORMAT_UNSIGNED_INT8, 1, 0}, 0, 0},
	{{5000, 0, 0, CU_AD_FORMAT_HALF, 2, 0}, 0, 0},
	{{100, 100, 10, CU_AD_FORMAT_FLOAT, 1, 0}, 0, 0},
	{{16, 16, 60, CU_AD_FORMAT_UNSIGNED_INT8, 1, CUDA_ARRAY3D_LAYERED}, 0, 0},
	{{1024, 512, 0, CU_AD_FORMAT_UNSIGNED_INT8, 1, 0}, 10, 0},
	{{64, 64, 64, CU_AD_FORMAT_UNSIGNED_INT16, 4, 0}, 3, 0},
};
#define SHAPES (sizeof(shapes) / sizeof(shapes[0]))

static struct array {
	CUarray array;
	CUmipmappedArray mipmap;
	CUcontext context;
	const struct shape *shape; /* NULL: none */
} arrays[ARRAYS];

static CUresult make_array(const struct shape *shape, struct array *ret_array)
{
	const CUDA_ARRAY3D_DESCRIPTOR *space = &shape->description;
	const CUDA_ARRAY_DESCRIPTOR plane = {
		space->Width, space->Height, space->Format, space->NumChannels};

	if (shape->levels > 0)
		return fuzz.cu.cuMipmappedArrayCreate(&ret_array->mipmap, space, shape->levels);
	if (space->Depth == 0)
		return fuzz.cu.cuArrayCreate_v2(&ret_array->array, &plane);
	return fuzz.cu.cuArray3DCreate_v2(&ret_array->array, space);
}

static void destroy_array(struct array *at)
{
	must(at->shape->levels > 0 ? fuzz.cu.cuMipmappedArrayDestroy(at->mipmap)
				   : fuzz.cu.cuArrayDestroy(at->array),
		"destroy of an array");
	at->shape = NULL;
}

void arrays_measure(void)
{
	for (unsigned i = 0; i < SHAPES; i++) {
		struct array array = {.shape = &shapes[i]};
		const uint64_t before = account_used();
		must(make_array(&shapes[i], &array), "array");
		shapes[i].bytes = account_used() - before;
		destroy_array(&array);
	}
}

void step_array(struct draw *draw)
{
	struct array *at = &arrays[draw_below(draw, ARRAYS)];
	const struct shape *shape = &shapes[draw_below(draw, SHAPES)];
	const struct array untouched = {.array = (CUarray)42, .mipmap = (CUmipmappedArray)42};
	struct array made = untouched;

	if (at->shape != NULL) {
		tell("array destroyed");
		fuzz.held_bytes -= at->shape->bytes;
		destroy_array(at);
		return;
	}
	CUresult res = make_array(shape, &made);
	tell("array of shape %u: %d", (unsigned)(shape - shapes), (int)res);
	if (!answered(
		    res, "array", made.array != untouched.array || made.mipmap != untouched.mipmap))
		return;
	*at = made;
	at->shape = shape;
	at->context = current_context();
	fuzz.held_bytes += shape->bytes;
}

static void lose_array(struct array *at)
{
	fuzz.held_bytes -= at->shape->bytes;
	at->shape = NULL;
}

/* Their handles live on without memory, and are left alone. */
void arrays_lose(CUcontext context)
{
	for (unsigned i = 0; i < ARRAYS; i++) {
		if (arrays[i].shape != NULL && arrays[i].context == context)
			lose_array(&arrays[i]);
	}
}

void arrays_end(void)
{
	for (unsigned i = 0; i < ARRAYS; i++) {
		if (arrays[i].shape == NULL)
			continue;
		fuzz.held_bytes -= arrays[i].shape->bytes;
		destroy_array(&arrays[i]);
	}
}

static struct external {
	CUexternalMemory memory;
	CUcontext context;
	uint64_t bytes; /* 0: none */
} externals[2];

static void take_external(struct draw *draw, unsigned i)
{
	const CUexternalMemory untouched = (CUexternalMemory)42;
	CUDA_EXTERNAL_MEMORY_HANDLE_DESC description = {
		.type = CU_EXTERNAL_MEMORY_HANDLE_TYPE_OPAQUE_FD,
		.size = draw_bytes(draw, fuzz.quota / 8)};
	CUexternalMemory memory = untouched;
	int fd = memfd_create("external", MFD_CLOEXEC);

	must_be(fd >= 0 && ftruncate(fd, (off_t)description.size) == 0, "memfd");
	description.handle.fd = fd;
	CUresult res = fuzz.cu.cuImportExternalMemory(&memory, &description);
	tell("external of %llu bytes: %d", description.size, (int)res);
	if (res != CUDA_SUCCESS)
		close(fd);
	/* cuda.h names no CUDA_ERROR_OUT_OF_MEMORY for it. */
	if (!answered(res == CUDA_ERROR_OPERATING_SYSTEM ? CUDA_ERROR_OUT_OF_MEMORY : res,
		    "external", memory != untouched))
		return;
	externals[i].memory = memory;
	externals[i].context = current_context();
	externals[i].bytes = rounded(description.size);
	fuzz.imported_bytes += externals[i].bytes;
}

static void give_external(unsigned i)
{
	must(fuzz.cu.cuDestroyExternalMemory(externals[i].memory), "destroy of external memory");
	fuzz.imported_bytes -= externals[i].bytes;
	externals[i].bytes = 0;
}

void step_external(struct draw *draw)
{
	unsigned i = draw_below(draw, 2);

	if (externals[i].bytes == 0) {
		take_external(draw, i);
	} else {
		tell("external destroyed");
		give_external(i);
	}
}

void external_lose(CUcontext context)
{
	for (unsigned i = 0; i < 2; i++) {
		if (externals[i].bytes == 0 || externals[i].context != context)
			continue;
		fuzz.imported_bytes -= externals[i].bytes;
		externals[i].bytes = 0;
	}
}

void external_end(void)
{
	for (unsigned i = 0; i < 2; i++) {
		if (externals[i].bytes > 0)
			give_external(i);
	}
}

static struct opened {
	CUdeviceptr address;
	CUcontext context;
	unsigned count;
	uint64_t bytes;
} opened[PARTNER_OPENED];

static void open_handle(struct opened *at, unsigned i)
{
	CUdeviceptr address = 42;
	CUresult res = fuzz.cu.cuIpcOpenMemHandle_v2(
		&address, partner.handles[i], CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS);

	tell("memory %u of the partner opened: %d", i, (int)res);
	if (!answered(res == CUDA_ERROR_MAP_FAILED ? CUDA_ERROR_OUT_OF_MEMORY : res, "open",
		    address != 42))
		return;
	if (at->count++ > 0)
		return;
	at->address = address;
	at->context = current_context();
	at->bytes = rounded(partner_opened_bytes(i));
	fuzz.imported_bytes += at->bytes;
}

static void close_handle(struct opened *at)
{
	must(fuzz.cu.cuIpcCloseMemHandle(at->address), "close of opened memory");
	if (--at->count == 0)
		fuzz.imported_bytes -= at->bytes;
}

/* In another context it would be opened at another address: one is enough. */
void step_opened(struct draw *draw)
{
	unsigned i = draw_below(draw, PARTNER_OPENED);
	struct opened *at = &opened[i];

	if (at->count == 0 ||
		(at->count < 3 && at->context == current_context() && draw_below(draw, 2) == 0)) {
		open_handle(at, i);
	} else {
		tell("memory %u of the partner closed", i);
		close_handle(at);
	}
}

void opened_lose(CUcontext context)
{
	for (unsigned i = 0; i < PARTNER_OPENED; i++) {
		if (opened[i].count == 0 || opened[i].context != context)
			continue;
		fuzz.imported_bytes -= opened[i].bytes;
		opened[i].count = 0;
	}
}

void opened_end(void)
{
	for (unsigned i = 0; i < PARTNER_OPENED; i++) {
		while (opened[i].count > 0)
			close_handle(&opened[i]);
	}
}
