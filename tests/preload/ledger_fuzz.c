/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * usage: client_ledger_fuzz SOCKET QUOTA SEED
 *        client_ledger_fuzz SOCKET
 *
 * Uses memory at random (ledger_fuzz.h) as it is told on stdin, one line each:
 *   steps FROM COUNT [FROM COUNT]...  answered by `done GRANTED REFUSED`
 *   rest                              waits for its streams; `rest IMPORTED`, in bytes
 *   end                               gives back all it has; `end`
 * With FUZZ_ALONE the machine is its own but for the partner: after each step what the library has
 * counted, what the machine has given, and what this program knows of are compared; where they
 * differ, `mismatch STEP ...` is said and the program ends. Without a quota it is the partner.
 */
#include "ledger_fuzz.h"

#include <dlfcn.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A millisecond apart. */
#define LATE_LOOKS 1500

struct fuzz fuzz;

static bool is_alone, is_telling;
static uint64_t seed, elsewhere_bytes; /* that others had before */
static char told[200];
static const char *without; /* names of families that are left out; NULL: none */

/* splitmix64 */
static uint64_t next_random(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

unsigned draw_below(struct draw *draw, unsigned limit)
{
	return (unsigned)(next_random(&draw->state) % limit);
}

size_t draw_bytes(struct draw *draw, size_t most)
{
	if (draw_below(draw, 4) == 0)
		return next_random(&draw->state) % most + 1;
	unsigned bits = draw_below(draw, 64 - (unsigned)__builtin_clzll(most)) + 1;
	size_t bytes = next_random(&draw->state) & ((UINT64_C(1) << bits) - 1);

	return bytes == 0 ? 1 : bytes > most ? most : bytes;
}

void tell(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(told, sizeof(told), format, args);
	va_end(args);
	if (is_telling)
		say("step %llu: %s", (unsigned long long)fuzz.step, told);
}

static uint64_t ledger_bytes(void)
{
	return used_bytes(0);
}

static void mismatch(const char *what, uint64_t ledger, uint64_t account, uint64_t model)
{
	say("mismatch %llu after \"%s\": %s; ledger %llu, account %llu, model %llu + %llu imported "
	    "and %llu pending",
		(unsigned long long)fuzz.step, told, what, (unsigned long long)ledger,
		(unsigned long long)account, (unsigned long long)model,
		(unsigned long long)fuzz.imported_bytes, (unsigned long long)fuzz.pending_bytes);
	_exit(5);
}

bool answered(CUresult result, const char *what, bool was_touched)
{
	if (result == CUDA_SUCCESS) {
		fuzz.granted++;
		return true;
	}
	if (result != CUDA_ERROR_OUT_OF_MEMORY)
		must(result, what);
	if (was_touched)
		mismatch("refused, but with its output changed", 0, 0, 0);
	fuzz.refused++;
	return false;
}

void refused_bytes(uint64_t bytes)
{
	uint64_t ledger = is_alone ? ledger_bytes() : UINT64_MAX;

	if (ledger <= fuzz.quota && bytes <= fuzz.quota - ledger)
		mismatch("refused, but there is room", ledger, account_used() - elsewhere_bytes,
			fuzz.held_bytes);
}

/* By a library that was opened so that its calls are bound to the driver. */
void free_behind(CUdeviceptr address)
{
	const char *path = getenv("FUZZ_BEHIND");
	void *handle = path != NULL ? dlopen(path, RTLD_NOW | RTLD_DEEPBIND) : NULL;
	CUresult (*free_it)(CUdeviceptr) = NULL;

	must_be(handle != NULL, "FUZZ_BEHIND");
	*(void **)&free_it = dlsym(handle, "behind_free");
	must_be(free_it != NULL, "behind_free");
	must(free_it(address), "free behind the library");
}

/* NULL, or what is wrong. */
static const char *find_excess(uint64_t ledger, uint64_t account)
{
	if (account + fuzz.imported_bytes > ledger)
		return "less is counted than there is";
	if (account > fuzz.quota + fuzz.beyond_bytes)
		return "more than the quota";
	return NULL;
}

/* Makes the library look at what the driver has. */
static void nudge(void)
{
	size_t free_bytes, total_bytes;
	CUdeviceptr address;

	if (fuzz.cu.cuMemAlloc_v2(&address, 1) == CUDA_SUCCESS)
		must(fuzz.cu.cuMemFree_v2(address), "free");
	must(fuzz.cu.cuMemGetInfo_v2(&free_bytes, &total_bytes), "cuMemGetInfo");
}

/* Whatever streams are about to give back, the machine never has more than is counted and may be
 * had. Two things are so for a moment only: what a pool has taken beyond the quota goes back in the
 * order of a stream, and what was measured while a stream gave memory back may be too little until
 * the next allocation. */
static void check_bounds(void)
{
	uint64_t ledger = ledger_bytes(), account = account_used() - elsewhere_bytes;
	const char *excess = find_excess(ledger, account);

	for (unsigned i = 0; excess != NULL && i < LATE_LOOKS; i++) {
		poll(NULL, 0, 1);
		nudge();
		ledger = ledger_bytes();
		account = account_used() - elsewhere_bytes;
		excess = find_excess(ledger, account);
	}
	if (excess != NULL)
		mismatch(excess, ledger, account, fuzz.held_bytes);
}

/* What has come back by itself shows when it is asked for. */
static void check_exactly(void)
{
	size_t free_bytes, total_bytes;
	bool is_busy = fuzz.is_busy[0] || fuzz.is_busy[1];

	for (unsigned i = 0; i < STREAMS; i++) {
		if (!fuzz.is_busy[i])
			must(fuzz.cu.cuStreamSynchronize(fuzz.streams[i]), "cuStreamSynchronize");
	}
	if (!is_busy)
		fuzz.pending_bytes = 0;
	must(fuzz.cu.cuMemGetInfo_v2(&free_bytes, &total_bytes), "cuMemGetInfo");
	uint64_t ledger = ledger_bytes(), account = account_used() - elsewhere_bytes;
	uint64_t model = fuzz.held_bytes + pools_bytes() + graphs_bytes();
	if (ledger - fuzz.imported_bytes - account > fuzz.pending_bytes)
		mismatch("more is counted than there is", ledger, account, model);
	fuzz.is_unknown = fuzz.is_unknown && (is_busy || fuzz.unknown > 0);
	if (!fuzz.is_unknown && (account < model || account - model > fuzz.pending_bytes))
		mismatch("there is not what is known", ledger, account, model);
}

static const struct family {
	const char *name;
	void (*step)(struct draw *draw);
	unsigned weight;
} families[] = {
	{"linear", step_linear, 20},
	{"array", step_array, 6},
	{"external", step_external, 2},
	{"opened", step_opened, 5},
	{"pool", step_pool, 20},
	{"pool_itself", step_pool_itself, 5},
	{"graph", step_graph, 8},
	{"physical", step_physical, 14},
	{"imported", step_imported, 6},
	{"multicast", step_multicast, 1},
	{"context", step_context, 4},
	{"heap", step_heap, 4},
	{"module", step_module, 3},
	{"library", step_library, 3},
	{"stream", step_stream, 12},
};
#define FAMILIES (sizeof(families) / sizeof(families[0]))

static const struct family *draw_family(struct draw *draw)
{
	unsigned all = 0, i = 0;

	for (unsigned j = 0; j < FAMILIES; j++)
		all += families[j].weight;
	unsigned at = draw_below(draw, all);
	while (at >= families[i].weight)
		at -= families[i++].weight;
	return &families[i];
}

static void play(uint64_t step)
{
	struct draw draw = {.state = seed * UINT64_C(0x2545f4914f6cdd1d) + step};

	(void)next_random(&draw.state);
	fuzz.step = step;
	snprintf(told, sizeof(told), "nothing");
	const struct family *family = draw_family(&draw);
	if (without == NULL || strstr(without, family->name) == NULL)
		family->step(&draw);
	if (!is_alone)
		return;
	check_bounds();
	if (draw_below(&draw, 3) > 0)
		check_exactly();
}

static void play_all(char *text)
{
	char *rest = text;

	fuzz.granted = fuzz.refused = 0;
	for (;;) {
		char *from = rest;
		unsigned long long first = strtoull(from, &rest, 10);
		if (rest == from)
			break;
		unsigned long long count = strtoull(rest, &rest, 10);
		for (unsigned long long i = 0; i < count; i++)
			play(first + i);
	}
	say("done %u %u", fuzz.granted, fuzz.refused);
}

static void rest(void)
{
	size_t free_bytes, total_bytes;

	for (unsigned i = 0; i < STREAMS; i++) {
		must(fuzz.cu.cuStreamSynchronize(fuzz.streams[i]), "cuStreamSynchronize");
		fuzz.is_busy[i] = false;
	}
	fuzz.pending_bytes = 0;
	must(fuzz.cu.cuMemGetInfo_v2(&free_bytes, &total_bytes), "cuMemGetInfo");
	say("rest %llu", (unsigned long long)fuzz.imported_bytes);
}

static void end(void)
{
	rest();
	linear_end();
	arrays_end();
	external_end();
	opened_end();
	physical_end();
	imported_end();
	graphs_end();
	pools_end();
	modules_end();
	contexts_end();
	uint64_t ledger = ledger_bytes();
	if (is_alone && (ledger != 0 || account_used() != elsewhere_bytes || fuzz.held_bytes != 0 ||
				fuzz.imported_bytes != 0))
		mismatch("at the end", ledger, account_used() - elsewhere_bytes, fuzz.held_bytes);
	say("end");
}

static void start(const char *partner_path)
{
	const char *chunks = getenv("FUZZ_CHUNKS");
	const char *forget = getenv("FUZZ_FORGET_AT"), *behind = getenv("FUZZ_BEHIND_AT");

	is_alone = getenv("FUZZ_ALONE") != NULL;
	without = getenv("FUZZ_WITHOUT");
	is_telling = getenv("FUZZ_TELL") != NULL;
	fuzz.takes_chunks = chunks != NULL;
	fuzz.forget_at = forget != NULL ? strtoull(forget, NULL, 10) : UINT64_MAX;
	fuzz.behind_at = behind != NULL ? strtoull(behind, NULL, 10) : UINT64_MAX;
	functions_from_link(&fuzz.cu);
	account_open();
	partner_meet(partner_path);
	elsewhere_bytes = account_used();
	must(fuzz.cu.cuInit(0), "cuInit");
	must(fuzz.cu.cuDevicePrimaryCtxRetain(&fuzz.contexts[0], 0), "retain");
	must(fuzz.cu.cuCtxSetCurrent(fuzz.contexts[0]), "cuCtxSetCurrent");
	modules_open();
	streams_open();
	if (is_alone)
		arrays_measure();
	pools_open();
	physical_open();
}

int main(int argc, char *argv[])
{
	char *line = NULL;
	size_t room = 0;

	if (argc < 3)
		return argc == 2 ? partner_serve(argv[1]) : 2;
	fuzz.quota = argument(argc, argv, 2, 0);
	seed = argument(argc, argv, 3, 0);
	start(argv[1]);
	say("ready");
	while (getline(&line, &room, stdin) > 0) {
		if (strncmp(line, "steps", 5) == 0)
			play_all(line + 5);
		else if (strncmp(line, "rest", 4) == 0)
			rest();
		else if (strncmp(line, "end", 3) == 0)
			end();
		else
			must_be(false, "a command");
	}
	return 0;
}
