/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The machine as its clients see it.
 */
#include "machine.h"

#include <stdatomic.h>
#include <string.h>

/* The generation is odd in between: pairs with the loads of `generation` by clients before and
 * after they read. Acquire as well as release, so that no write of the change moves ahead. */
static void begin_change(struct wire_machine *machine)
{
	atomic_fetch_add_explicit(&machine->generation, 1, memory_order_acq_rel);
}

static void end_change(struct wire_machine *machine)
{
	atomic_fetch_add(&machine->generation, 1);
}

static void write_device(
	struct wire_device *device, const struct device_settings *settings, uint32_t number)
{
	memcpy(device->name, settings->name, sizeof(device->name));
	memcpy(device->uuid, settings->uuid, sizeof(device->uuid));
	device->memory_bytes = settings->memory_bytes;
	device->memory_limit_bytes = settings->limit_bytes;
	device->granularity_bytes = settings->granularity_bytes;
	device->context_bytes = settings->context_bytes;
	device->module_bytes = settings->module_bytes;
	device->pool_chunk_bytes = settings->pool_chunk_bytes;
	device->sm_count = settings->sm_count;
	device->cc_major = settings->cc_major;
	device->cc_minor = settings->cc_minor;
	device->pci_bus = number + 1;
}

uint32_t machine_sm_words(const struct settings *settings)
{
	uint32_t most = 0;
	for (uint32_t i = 0; i < settings->device_count; i++) {
		if (settings->devices[i].sm_count > most)
			most = settings->devices[i].sm_count;
	}
	return (most + 63) / 64;
}

void machine_write(struct wire_machine *machine, const struct settings *settings)
{
	begin_change(machine);
	machine->version = WIRE_VERSION;
	machine->device_count = settings->device_count;
	machine->driver_version = settings->driver_version;
	machine->copy_mib_per_ms = settings->copy_mib_per_ms;
	machine->fill_mib_per_ms = settings->fill_mib_per_ms;
	machine->d2d_mib_per_ms = settings->d2d_mib_per_ms;
	machine->strict_capture = settings->strict_capture;
	atomic_store(&machine->memory_answer_us, settings->memory_answer_us);
	machine->mps = settings->mps;
	machine->mps_percentage = settings->mps_percentage;
	atomic_store(&machine->leaks, settings->leaks);
	machine->sm_words = machine_sm_words(settings);
	machine->kernel_count = settings->kernel_count;
	memcpy(machine->kernels, settings->kernels, sizeof(machine->kernels));
	for (uint32_t i = 0; i < settings->device_count; i++)
		write_device(&machine->devices[i], &settings->devices[i], i);
	end_change(machine);
}

/* The entry of the symbol, else one that is used up, else a new one. `known` is not read back from
 * the shared page, which clients can write. */
static struct wire_failure *find_failure(
	struct wire_machine *machine, const char *symbol, uint32_t known)
{
	struct wire_failure *used_up = NULL;
	for (uint32_t i = 0; i < known; i++) {
		struct wire_failure *failure = &machine->failures[i];
		if (strncmp(failure->symbol, symbol, WIRE_NAME_LEN) == 0)
			return failure;
		if (atomic_load(&failure->remaining) <= 0)
			used_up = failure;
	}
	if (!used_up && known < WIRE_MAX_FAILURES)
		return &machine->failures[known];
	return used_up;
}

bool machine_fail(struct wire_machine *machine, const char *symbol, int32_t result, int32_t count)
{
	uint32_t known = atomic_load(&machine->failure_count);
	if (known > WIRE_MAX_FAILURES)
		known = WIRE_MAX_FAILURES;
	struct wire_failure *failure = find_failure(machine, symbol, known);
	if (!failure)
		return false;
	begin_change(machine);
	/* Not two calls may fail by the old count and the new result. */
	atomic_store(&failure->remaining, 0);
	memset(failure->symbol, 0, sizeof(failure->symbol));
	memcpy(failure->symbol, symbol, strnlen(symbol, WIRE_NAME_LEN - 1));
	failure->result = result;
	atomic_store(&failure->remaining, count);
	if (failure == &machine->failures[known])
		atomic_store(&machine->failure_count, known + 1);
	end_change(machine);
	return true;
}
