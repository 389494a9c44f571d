/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * cuInit: the only place where the environment is read and where anything begins.
 */
#include "init.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "client.h"
#include "device.h"
#include "entry.h"
#include "module.h"
#include "null.h"
#include "ops.h"
#include "thread.h"

#define NEWEST_VERSION 13000

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int version_before_init;

static bool is_null_mode(void)
{
	const char *value = getenv("SIMGPU_NULL");

	return value && strcmp(value, "1") == 0;
}

/* The child has neither the effects thread nor a connection of its own. */
static void end_in_child(void)
{
	entry_close_after_fork();
	client_close();
}

static CUresult open_null(void)
{
	struct wire_machine *machine = null_machine();

	devices_init(machine);
	if (!thread_init() || pthread_atfork(NULL, NULL, end_in_child) != 0)
		return CUDA_ERROR_OPERATING_SYSTEM;
	entry_open(ENTRY_NULL, machine);
	return CUDA_SUCCESS;
}

static CUresult open_live(void)
{
	if (!client_open())
		return CUDA_ERROR_NO_DEVICE;
	CUresult result = entry_injected_failure(client_machine(), "cuInit");

	if (result == CUDA_SUCCESS && devices_init(client_machine()) == 0)
		result = CUDA_ERROR_NO_DEVICE;
	if (result == CUDA_SUCCESS &&
		(!thread_init() || pthread_atfork(NULL, NULL, end_in_child) != 0 || !ops_start()))
		result = CUDA_ERROR_OPERATING_SYSTEM;
	if (result != CUDA_SUCCESS) {
		client_close();
		return result;
	}
	twins_init();
	entry_open(ENTRY_LIVE, client_machine());
	return CUDA_SUCCESS;
}

CUresult cuInit(unsigned int Flags)
{
	CUresult result = CUDA_SUCCESS;

	if (Flags)
		return CUDA_ERROR_INVALID_VALUE;
	if (atomic_load_explicit(&entry.mode, memory_order_acquire) == ENTRY_FORKED)
		return CUDA_ERROR_NOT_INITIALIZED;
	pthread_mutex_lock(&lock);
	if (atomic_load_explicit(&entry.mode, memory_order_acquire) != ENTRY_CLOSED)
		result = entry_check("cuInit");
	else
		result = is_null_mode() ? open_null() : open_live();
	pthread_mutex_unlock(&lock);
	return result;
}

/* Asks the server once, by a connection that ends at once. */
static int ask_version(void)
{
	pthread_mutex_lock(&lock);
	if (!version_before_init) {
		version_before_init = NEWEST_VERSION;
		if (atomic_load_explicit(&entry.mode, memory_order_acquire) == ENTRY_CLOSED &&
			!is_null_mode() && client_open()) {
			version_before_init = (int)client_machine()->driver_version;
			client_close();
		}
	}
	const int version = version_before_init;

	pthread_mutex_unlock(&lock);
	return version;
}

int driver_version(void)
{
	const int mode = atomic_load_explicit(&entry.mode, memory_order_acquire);

	if (mode == ENTRY_LIVE || mode == ENTRY_NULL)
		return (int)entry.machine->driver_version;
	return ask_version();
}

CUresult cuDriverGetVersion(int *driverVersion)
{
	if (!driverVersion)
		return CUDA_ERROR_INVALID_VALUE;
	const int mode = atomic_load_explicit(&entry.mode, memory_order_acquire);
	/* Works before cuInit, where nothing can be injected. */
	const CUresult refusal =
		mode == ENTRY_LIVE ? entry_check("cuDriverGetVersion") : CUDA_SUCCESS;

	if (refusal == CUDA_SUCCESS)
		*driverVersion = driver_version();
	return refusal;
}
