/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Contexts and their heaps, modules and libraries, and streams that are busy. What contexts and
 * modules take the test tells by the environment, as it has told the machine.
 */
#include "ledger_fuzz.h"

#include <stdio.h>
#include <stdlib.h>

#define MODULES   3
#define LIBRARIES 2
#define LIMITS    3
#define SMS       132
#define THREADS   2048

static uint64_t context_bytes, module_bytes, variable_bytes;
static char ptx[400];

static uint64_t setting(const char *name)
{
	const char *text = getenv(name);

	return text != NULL ? strtoull(text, NULL, 10) : 0;
}

CUcontext current_context(void)
{
	return fuzz.contexts[fuzz.current];
}

static void make_current(unsigned i)
{
	must(fuzz.cu.cuCtxSetCurrent(fuzz.contexts[i]), "cuCtxSetCurrent");
	fuzz.current = i;
}

void streams_open(void)
{
	CUmodule module;

	for (unsigned i = 0; i < STREAMS; i++) {
		must(fuzz.cu.cuStreamCreate(&fuzz.streams[i], CU_STREAM_NON_BLOCKING), "stream");
		fuzz.is_busy[i] = false;
	}
	fuzz.kernel = load_kernel(&fuzz.cu, &module);
	fuzz.held_bytes += module_bytes;
}

void modules_open(void)
{
	context_bytes = setting("FUZZ_CONTEXT_BYTES");
	module_bytes = setting("FUZZ_MODULE_BYTES");
	variable_bytes = setting("FUZZ_VARIABLE_BYTES");
	fuzz.held_bytes += context_bytes;
	snprintf(ptx, sizeof(ptx),
		".version 7.0\n.target sm_75\n.address_size 64\n"
		"%s.visible .global .align 8 .b8 variable[%llu];\n"
		".visible .entry busy()\n{\n\tret;\n}\n",
		variable_bytes > 0 ? "" : "//", (unsigned long long)variable_bytes);
}

static const struct {
	CUlimit limit;
	uint64_t by_default, unit_bytes, most;
} limits[LIMITS] = {
	{CU_LIMIT_MALLOC_HEAP_SIZE, 8 * MIB, 1, 32 * MIB},
	{CU_LIMIT_PRINTF_FIFO_SIZE, MIB, 1, 8 * MIB},
	{CU_LIMIT_STACK_SIZE, 1024, (uint64_t)SMS *THREADS, 1100},
};
static uint64_t heaps[CONTEXTS][LIMITS];

static uint64_t heap_bytes(unsigned i, uint64_t value)
{
	uint64_t more = value > limits[i].by_default ? value - limits[i].by_default : 0;

	return (more * limits[i].unit_bytes + 511) / 512 * 512;
}

void step_heap(struct draw *draw)
{
	/* What stacks take is measured when they are there. */
	unsigned i = draw_below(draw, fuzz.takes_chunks ? LIMITS - 1 : LIMITS);
	uint64_t *heap = &heaps[fuzz.current][i], value = draw_bytes(draw, limits[i].most);

	CUresult res = fuzz.cu.cuCtxSetLimit(limits[i].limit, value);
	tell("limit %u set to %llu: %d", i, (unsigned long long)value, (int)res);
	if (!answered(res, "limit", false))
		return;
	fuzz.held_bytes += heap_bytes(i, value) - *heap;
	*heap = heap_bytes(i, value);
}

void heaps_lose(unsigned context)
{
	for (unsigned i = 0; i < LIMITS; i++) {
		fuzz.held_bytes -= heaps[context][i];
		heaps[context][i] = 0;
	}
}

static struct {
	CUmodule module; /* NULL: none */
	CUcontext context;
} modules[MODULES];
static struct library {
	CUlibrary library; /* NULL: none */
	bool is_in[CONTEXTS];
} libraries[LIBRARIES];

static uint64_t image_bytes(void)
{
	return module_bytes + (variable_bytes + 511) / 512 * 512;
}

void step_module(struct draw *draw)
{
	unsigned i = draw_below(draw, MODULES);
	CUmodule module = (CUmodule)42;

	if (modules[i].module != NULL) {
		must(fuzz.cu.cuModuleUnload(modules[i].module), "cuModuleUnload");
		modules[i].module = NULL;
		fuzz.held_bytes -= image_bytes();
		tell("module unloaded");
		return;
	}
	CUresult res = fuzz.cu.cuModuleLoadData(&module, ptx);
	tell("module loaded: %d", (int)res);
	if (!answered(res, "module", module != (CUmodule)42))
		return;
	modules[i].module = module;
	modules[i].context = current_context();
	fuzz.held_bytes += image_bytes();
}

static void lose_library(struct library *at, unsigned context)
{
	if (!at->is_in[context])
		return;
	at->is_in[context] = false;
	fuzz.held_bytes -= image_bytes();
	fuzz.beyond_bytes -= image_bytes();
}

static void unload_library(struct library *at)
{
	for (unsigned i = 0; i < CONTEXTS; i++)
		lose_library(at, i);
	must(fuzz.cu.cuLibraryUnload(at->library), "cuLibraryUnload");
	at->library = NULL;
}

void step_library(struct draw *draw)
{
	struct library *at = &libraries[draw_below(draw, LIBRARIES)];
	CUmodule module;

	if (at->library == NULL) {
		must(fuzz.cu.cuLibraryLoadData(&at->library, ptx, NULL, NULL, 0, NULL, NULL, 0),
			"cuLibraryLoadData");
		tell("library loaded");
	} else if (draw_below(draw, 3) == 0) {
		unload_library(at);
		tell("library unloaded");
	} else {
		must(fuzz.cu.cuLibraryGetModule(&module, at->library), "cuLibraryGetModule");
		if (!at->is_in[fuzz.current]) {
			at->is_in[fuzz.current] = true;
			fuzz.held_bytes += image_bytes();
			fuzz.beyond_bytes += image_bytes();
		}
		tell("library used");
	}
}

void modules_lose(CUcontext context)
{
	for (unsigned i = 0; i < MODULES; i++) {
		if (modules[i].module == NULL || modules[i].context != context)
			continue;
		modules[i].module = NULL;
		fuzz.held_bytes -= image_bytes();
	}
	for (unsigned i = 0; i < LIBRARIES; i++) {
		for (unsigned j = 0; j < CONTEXTS; j++) {
			if (fuzz.contexts[j] == context)
				lose_library(&libraries[i], j);
		}
	}
}

void modules_end(void)
{
	for (unsigned i = 0; i < MODULES; i++) {
		if (modules[i].module == NULL)
			continue;
		must(fuzz.cu.cuModuleUnload(modules[i].module), "cuModuleUnload");
		modules[i].module = NULL;
		fuzz.held_bytes -= image_bytes();
	}
	for (unsigned i = 0; i < LIBRARIES; i++) {
		if (libraries[i].library != NULL)
			unload_library(&libraries[i]);
	}
}

/* All that belongs to it, as it dies. */
static void lose(unsigned i)
{
	CUcontext context = fuzz.contexts[i];

	linear_lose(context);
	arrays_lose(context);
	external_lose(context);
	opened_lose(context);
	pools_lose(context);
	modules_lose(context);
	heaps_lose(i);
	fuzz.held_bytes -= context_bytes;
}

static void create(unsigned i)
{
	CUcontext context = (CUcontext)42;
	CUresult res = fuzz.cu.cuCtxCreate_v2(&context, 0, 0);

	tell("context %u: %d", i, (int)res);
	if (!answered(res, "context", context != (CUcontext)42))
		return;
	/* It is one more on the stack, which would be full some day. */
	must(fuzz.cu.cuCtxPopCurrent_v2(&context), "cuCtxPopCurrent");
	fuzz.contexts[i] = context;
	make_current(i);
	fuzz.held_bytes += context_bytes;
}

static void destroy(unsigned i)
{
	lose(i);
	must(fuzz.cu.cuCtxDestroy_v2(fuzz.contexts[i]), "cuCtxDestroy");
	fuzz.contexts[i] = NULL;
	if (fuzz.current == i)
		make_current(0);
}

/* What is not the context's own, but its streams' or kernel's, goes before. */
static void reset(void)
{
	graphs_end();
	lose(0);
	fuzz.held_bytes -= module_bytes; /* the kernel's */
	fuzz.pending_bytes = 0;
	must(fuzz.cu.cuDevicePrimaryCtxReset_v2(0), "cuDevicePrimaryCtxReset");
	CUresult res = fuzz.cu.cuDevicePrimaryCtxRetain(&fuzz.contexts[0], 0);
	must(res, "retain, after what was there was given up");
	fuzz.held_bytes += context_bytes;
	make_current(0);
	streams_open();
}

void step_context(struct draw *draw)
{
	unsigned i = draw_below(draw, CONTEXTS), way = draw_below(draw, 4);

	if (i == 0 && way == 0 && draw_below(draw, 4) == 0) {
		tell("primary context reset");
		reset();
	} else if (i == 0 || (fuzz.contexts[i] != NULL && way < 2)) {
		tell("context %u made current", i);
		make_current(i);
	} else if (fuzz.contexts[i] == NULL) {
		create(i);
	} else {
		tell("context %u destroyed", i);
		destroy(i);
	}
}

void contexts_end(void)
{
	for (unsigned i = 1; i < CONTEXTS; i++) {
		if (fuzz.contexts[i] != NULL)
			destroy(i);
	}
	must(fuzz.cu.cuCtxSynchronize(), "cuCtxSynchronize");
	lose(0);
	fuzz.held_bytes -= module_bytes; /* the kernel's */
	fuzz.pending_bytes = 0;
	must(fuzz.cu.cuDevicePrimaryCtxReset_v2(0), "cuDevicePrimaryCtxReset");
}

static void settle(unsigned i)
{
	fuzz.is_busy[i] = false;
	if (!fuzz.is_busy[0] && !fuzz.is_busy[1])
		fuzz.pending_bytes = 0;
}

void step_stream(struct draw *draw)
{
	unsigned i = draw_below(draw, STREAMS);

	switch (draw_below(draw, 4)) {
	case 0:
		tell("stream %u busy", i);
		must(fuzz.cu.cuLaunchKernel(
			     fuzz.kernel, 1, 1, 1, 32, 1, 1, 0, fuzz.streams[i], NULL, NULL),
			"launch");
		fuzz.is_busy[i] = true;
		break;
	case 1:
		tell("context synchronised");
		make_current(0);
		must(fuzz.cu.cuCtxSynchronize(), "cuCtxSynchronize");
		settle(0);
		settle(1);
		break;
	default:
		tell("stream %u synchronised", i);
		must(fuzz.cu.cuStreamSynchronize(fuzz.streams[i]), "cuStreamSynchronize");
		settle(i);
		break;
	}
}
