/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "entry/entry.h"
#include "base/cancel.h"
#include "base/log.h"
#include "driver/real_dl.h"
#include "entry/entry_nvml.h"
#include "entry/once.h"
#include "governor/governor.h"
#include "hooks/hooks.h"
#include "ledger/ledger.h"
#include "partition/covered.h"
#include "partition/partition.h"
#include "slice/slice.h"
#include "token/token.h"

#include <stdatomic.h>
#include <string.h>

/* Called from the assembly beside this file. */
void *entry_start_linked(unsigned row);
bool entry_is_hooked(const char *name);
void *entry_dlsym(void *handle, const char *name);
void *entry_dlvsym(void *handle, const char *name, const char *version);

/* Driver addresses that lead to a hook. Two for a row where cuGetProcAddress gives another address
 * than the symbol has; open addressing, at most half full. */
#define INDEX_SIZE 2048u
_Static_assert(2 * HOOK_COUNT <= INDEX_SIZE / 2, "the address index is too small");

static struct {
	void *address;
	void *hook;
} address_index[INDEX_SIZE];

static struct once start_once;
static unsigned features;
static struct config config;        /* all zero before the start */
static struct group_identity group; /* of no kind before the start */
static atomic_bool is_configured;   /* config and group are as they stay */

bool entry_is_started(void)
{
	return once_is_done(&start_once);
}

unsigned entry_features(void)
{
	return entry_is_started() ? features : 0;
}

const struct config *entry_config(void)
{
	/* acquire: pairs with the release in start(). A thread that came through a slot of
	 * another's start is ahead of its end, and the jump through the slot orders nothing. */
	(void)atomic_load_explicit(&is_configured, memory_order_acquire);
	return &config;
}

const struct group_identity *entry_group(void)
{
	(void)entry_config(); /* for what it waits for */
	return &group;
}

static uint32_t index_of(const void *address)
{
	return (uint32_t)(((uintptr_t)address * 0x9e3779b97f4a7c15ull) >> 40) % INDEX_SIZE;
}

static void index_add(void *address, void *hook)
{
	uint32_t i = index_of(address);

	while (address_index[i].address != NULL && address_index[i].address != address)
		i = (i + 1) % INDEX_SIZE;
	/* Two rows may share one driver function; the first keeps it, and is as good. */
	if (address_index[i].address == NULL) {
		address_index[i].address = address;
		address_index[i].hook = hook;
	}
}

static void *index_find(void *address)
{
	for (uint32_t i = index_of(address); address_index[i].address != NULL;
		i = (i + 1) % INDEX_SIZE) {
		if (address_index[i].address == address)
			return address_index[i].hook;
	}
	return address;
}

/* `cuMemAlloc_v2` is asked of cuGetProcAddress as `cuMemAlloc`, `cuGraphLaunch_ptsz` as
 * `cuGraphLaunch` with the flag for per-thread streams. */
static cuuint64_t split_symbol(const char *symbol, char name[64])
{
	cuuint64_t flags = CU_GET_PROC_ADDRESS_LEGACY_STREAM;

	strncpy(name, symbol, 63);
	name[63] = '\0';
	char *suffix = strstr(name, "_pt");
	if (suffix != NULL) {
		flags = CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM;
		*suffix = '\0';
	}
	suffix = strstr(name, "_v");
	if (suffix != NULL)
		*suffix = '\0';
	return flags;
}

/* Should a driver give another address by cuGetProcAddress than by its symbol, that one leads to
 * the same hook. */
static void index_proc_address(const struct hook_row *row)
{
	CUdriverProcAddressQueryResult status;
	void *address = NULL;
	char name[64];

	cuuint64_t flags = split_symbol(row->symbol, name);
	if (driver.cuGetProcAddress_v2(name, &address, (int)row->since, flags, &status) ==
			CUDA_SUCCESS &&
		address != NULL)
		index_add(address, row->hook);
}

static unsigned wanted_features(void)
{
	unsigned wanted = slice_pending_features();

	if (config.is_disabled)
		return 0;
	/* A member without limits is held to those of the others. */
	if (config_limits_memory(&config) || config_names_group(&config))
		wanted |= FEATURE_MEMORY;
	if (config_limits_compute(&config) || config_names_group(&config) ||
		config_wants_turns(&config))
		wanted |= FEATURE_COMPUTE;
	if (config_wants_partition(&config, covered_any()))
		wanted |= FEATURE_PARTITION;
	/* It may limit anything while the program runs. */
	if (config.has_policy)
		wanted |= FEATURE_MEMORY | FEATURE_COMPUTE;
	if (wanted != 0 || config.problem_count > 0)
		wanted |= FEATURE_ANY;
	return wanted;
}

/* What the start goes by. Found before it is claimed: the loader may make us wait for a thread that
 * waits for the start. */
struct surroundings {
	struct elf_image libcuda;
	void *next[HOOK_COUNT]; /* where a linked call goes without us; NULL is to the driver */
	bool is_second;
};

/* `asked` is the libcuda that was looked up or found first. Where linked calls are bound to another
 * that one is used, and `asked` passes through: both answers are as without us. */
static void look_around(const struct elf_image *asked, struct surroundings *ret_around)
{
	bool is_bound = real_dl_find_bound_libcuda(&ret_around->libcuda);

	if (!is_bound)
		ret_around->libcuda = *asked;
	/* Up to a bound libcuda all objects are the program's own, in whose order calls are bound.
	 * Before another there may be some that are nobody's but their opener's. */
	for (unsigned i = 0; i < HOOK_COUNT; i++)
		ret_around->next[i] = is_bound ? real_dl_next_definition(
							 hook_rows[i].symbol, &ret_around->libcuda)
					       : NULL;
	ret_around->is_second = real_dl_is_second();
}

static void route_row(unsigned i, void *next)
{
	void *function = driver_function((enum hook_index)i);
	bool is_routed = (hook_rows[i].features & features) != 0;

	if (is_routed && function != NULL) {
		index_add(function, hook_rows[i].hook);
		index_proc_address(&hook_rows[i]);
	}
	void *target = is_routed && function != NULL ? hook_rows[i].hook : next;
	if (target == NULL)
		target = function;
	/* Absent functions keep the slot of the table, which answers NOT_SUPPORTED. */
	if (target == NULL)
		target = driver_absent();
	__atomic_store_n(&entry_slots[i], target, __ATOMIC_RELEASE);
}

/* Asks nothing of the loader: others wait for the end of this, and one of them may hold the
 * loader's lock, in a constructor that uses CUDA. */
static void start(const struct surroundings *around)
{
	extern char **environ;

	config_read(environ, &config);
	log_set_level(config.log);
	if (around->is_second) {
		log_at(LOG_DEBUG, "entry",
			"another copy of cuslice was loaded first; this one is off");
		config.is_disabled = true;
	}
	if (!ledger_init() || !token_init() || !governor_init() || !partition_init() ||
		!slice_init() || !hooks_init())
		config_add_problem(&config, "no memory to keep limits in");
	driver_fill(&around->libcuda);
	features = wanted_features();
	if ((features & FEATURE_PARTITION) != 0)
		partition_stand_between();
	if ((features & (FEATURE_MEMORY | FEATURE_COMPUTE)) != 0)
		group_find(&config, &group);
	atomic_store_explicit(&is_configured, true, memory_order_release);
	for (unsigned i = 0; i < HOOK_COUNT; i++)
		route_row(i, around->next[i]);
}

/* Makes the start once. False to the thread that is inside it already: a foreign interposer of
 * dlopen may come back to us, and goes without. */
static bool claim_and_start(const struct surroundings *around)
{
	enum once_claim claim = once_claim(&start_once);

	if (claim != ONCE_MINE)
		return claim == ONCE_DONE;
	start(around);
	once_finish(&start_once);
	/* The caller is in a call or lookup of this driver, so it is still there. dlclose() of the
	 * last handle must not take it away from under our table. */
	real_dl_pin((void *)driver.cuInit);
	return true;
}

static bool make_start(const struct elf_image *asked)
{
	struct surroundings around;

	look_around(asked, &around);
	/* A thread cancelled at open() would leave the start claimed for ever. */
	int cancel_state = cancel_hold();
	bool is_started = claim_and_start(&around);

	cancel_restore(cancel_state);
	return is_started;
}

void *entry_route(void *address)
{
	struct elf_image libcuda;

	if (address == NULL)
		return NULL;
	if (!entry_is_started() &&
		(!real_dl_find_libcuda_of(address, &libcuda) || !make_start(&libcuda)))
		return address;
	return index_find(address);
}

static CUresult no_device(void)
{
	return CUDA_ERROR_NO_DEVICE;
}

void *entry_start_linked(unsigned row)
{
	struct elf_image libcuda;

	if (row >= HOOK_COUNT)
		return entry_nvml_start_linked(row - HOOK_COUNT);
	/* A weak caller in a process without a driver: the next call asks anew. */
	if (!entry_is_started() && !real_dl_find_libcuda(&libcuda)) {
		void *next = real_dl_next_definition(hook_rows[row].symbol, NULL);
		return next != NULL ? next : (void *)no_device;
	}
	if (!entry_is_started() && !make_start(&libcuda))
		return elf_image_find(&libcuda, hook_rows[row].symbol);
	return __atomic_load_n(&entry_slots[row], __ATOMIC_ACQUIRE);
}

bool entry_is_hooked(const char *name)
{
	for (unsigned i = 0; i < HOOK_COUNT; i++) {
		if (strcmp(hook_rows[i].symbol, name) == 0)
			return true;
	}
	return entry_nvml_is_hooked(name);
}

/* The global scope finds our own export first. Without us it would have found the driver's, where
 * a libcuda is loaded; where none is, our export must not make CUDA appear. */
static void *without_us(void *address, const char *name)
{
	struct elf_image libcuda;

	if (!real_dl_is_ours(address))
		return address;
	if (real_dl_find_libcuda(&libcuda))
		return elf_image_find(&libcuda, name);
	return real_dlsym(RTLD_NEXT, name); /* finds nothing either, and lets dlerror() say so */
}

/* What the real lookup of a name that may be hooked gave becomes what we give. */
static void *answer(void *address, const char *name)
{
	if (name[0] == 'n')
		return entry_nvml_route(address, name);
	return entry_route(without_us(address, name));
}

void *entry_dlsym(void *handle, const char *name)
{
	return answer(real_dlsym(handle, name), name);
}

void *entry_dlvsym(void *handle, const char *name, const char *version)
{
	return answer(real_dlvsym(handle, name, version), name);
}
