/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "entry/entry_nvml.h"
#include "base/cancel.h"
#include "driver/nvml.h"
#include "driver/real_dl.h"
#include "entry/entry.h"
#include "entry/once.h"

#include <string.h>

static struct once config_once, nvml_once;
static struct config early_config; /* once config_once is done */

/* Once nvml_once is done: the library that is used, 0 where it is not fit for it. Another that the
 * program opens passes through. */
static uintptr_t nvml_base;

const struct config *entry_nvml_config(void)
{
	extern char **environ;

	if (entry_is_started())
		return entry_config();
	if (!once_is_done(&config_once)) {
		/* Asked before the claim: the loader may make us wait. */
		bool is_second = real_dl_is_second();
		int cancel_state = cancel_hold();
		enum once_claim claim = once_claim(&config_once);
		if (claim == ONCE_MINE) {
			config_read(environ, &early_config);
			early_config.is_disabled |= is_second;
			once_finish(&config_once);
		}
		cancel_restore(cancel_state);
		if (claim == ONCE_INSIDE)
			return NULL;
	}
	return &early_config;
}

/* A program that is refused its GPU has no slice to be shown. */
static bool is_wanted(void)
{
	const struct config *config = entry_nvml_config();

	return config != NULL && !config->is_disabled && !config_is_refused(config) &&
	       config_limits_memory(config);
}

/* Makes the library of `image` the one that is used, unless there is one. */
static bool use(const struct elf_image *image)
{
	if (!once_is_done(&nvml_once)) {
		enum once_claim claim = once_claim(&nvml_once);
		if (claim == ONCE_MINE) {
			nvml_base = nvml_fill(image) ? image->base : 0;
			once_finish(&nvml_once);
		}
		if (claim == ONCE_INSIDE)
			return false;
	}
	return nvml_base == image->base;
}

static unsigned find_row(const char *name)
{
	unsigned i = 0;

	while (i < NVML_HOOK_COUNT && strcmp(nvml_rows[i].symbol, name) != 0)
		i++;
	return i;
}

bool entry_nvml_is_hooked(const char *name)
{
	return find_row(name) < NVML_HOOK_COUNT;
}

static void *route(void *address, unsigned row)
{
	struct elf_image image;

	if (!real_dl_find_nvml_of(address, &image) || !is_wanted() || !use(&image) ||
		nvml_function((enum nvml_hook_index)row) != address)
		return address;
	real_dl_pin(address);
	return nvml_rows[row].hook;
}

void *entry_nvml_route(void *address, const char *name)
{
	unsigned row = find_row(name);

	if (row == NVML_HOOK_COUNT || address == NULL)
		return address;
	/* Found in the global scope, where without us the next one would have been. */
	if (real_dl_is_ours(address))
		address = real_dlsym(RTLD_NEXT, name);
	return address != NULL ? route(address, row) : NULL;
}

static nvmlReturn_t not_found(void)
{
	return NVML_ERROR_LIBRARY_NOT_FOUND;
}

void *entry_nvml_start_linked(unsigned row)
{
	void *next = real_dl_next_definition(nvml_rows[row].symbol, NULL);

	/* A weak caller in a process without NVML: the next call asks anew. */
	if (next == NULL)
		return (void *)not_found;
	void *target = route(next, row);
	__atomic_store_n(&entry_slots[HOOK_COUNT + row], target, __ATOMIC_RELEASE);
	return target;
}
