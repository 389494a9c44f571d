/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Modules and libraries: their code and their variables. What an image takes on the device only the
 * driver knows, so it is measured around the load; a module that turns out not to fit is unloaded
 * again. A library is loaded into contexts by the driver, when it likes to: what is seen of that is
 * charged beyond the quota if need be, what is not is left to the reconciling.
 */
#include "base/lock.h"
#include "base/wipe.h"
#include "driver/driver.h"
#include "governor/governor.h"
#include "hooks/charge.h"
#include "hooks/contexts.h"
#include "hooks/footprint.h"
#include "hooks/hooks.h"
#include "ledger/ledger.h"
#include "slice/slice.h"

/* A load on its way. */
struct load {
	bool is_counted;
	CUcontext context;
	struct footprint footprint;
};

static void begin_load(struct load *ret_load)
{
	CUdevice device;

	*ret_load = (struct load){0};
	if (driver.cuCtxGetDevice(&device) != CUDA_SUCCESS || !slice_exists(device) ||
		driver.cuCtxGetCurrent(&ret_load->context) != CUDA_SUCCESS)
		return;
	contexts_find_owner((unsigned)device, &ret_load->context);
	contexts_see((unsigned)device, ret_load->context);
	ret_load->is_counted = true;
	footprint_begin((unsigned)device, 0, &ret_load->footprint);
}

/* With the footprints locked. False where what the module took does not fit. */
static bool charge_module(const struct load *load, CUmodule module)
{
	uint64_t bytes;
	struct charge charge;

	if (!footprint_taken(&load->footprint, &bytes))
		return true;
	if (!charge_begin_on((CUdevice)load->footprint.device, LEDGER_MODULE, bytes, &charge))
		return false;
	charge.context = load->context;
	return charge_end(&charge, CUDA_SUCCESS, (uintptr_t)module, bytes);
}

/* Hands the module to the program, or unloads it. */
static CUresult end_load(struct load *load, CUresult res, CUmodule module, CUmodule *ret_module)
{
	if (load->is_counted)
		footprint_lock(&load->footprint);
	if (load->is_counted && res == CUDA_SUCCESS && !charge_module(load, module)) {
		driver.cuModuleUnload(module);
		res = CUDA_ERROR_OUT_OF_MEMORY;
	}
	if (load->is_counted)
		footprint_done(&load->footprint);
	if (res == CUDA_SUCCESS)
		*ret_module = module;
	return res;
}

CUresult CUDAAPI hook_cuModuleLoad(CUmodule *ret_module, const char *path)
{
	CUmodule module = NULL;
	struct load load;

	if (ret_module == NULL)
		return driver.cuModuleLoad(ret_module, path);
	begin_load(&load);
	CUresult res = driver.cuModuleLoad(&module, path);
	return end_load(&load, res, module, ret_module);
}

/* Cubins, PTX and fat binaries differ for the driver alone. */
static CUresult load_image(
	__typeof__(cuModuleLoadData) *driver_load, CUmodule *ret_module, const void *image)
{
	CUmodule module = NULL;
	struct load load;

	if (ret_module == NULL)
		return driver_load(ret_module, image);
	begin_load(&load);
	CUresult res = driver_load(&module, image);
	return end_load(&load, res, module, ret_module);
}

CUresult CUDAAPI hook_cuModuleLoadData(CUmodule *ret_module, const void *image)
{
	return load_image(driver.cuModuleLoadData, ret_module, image);
}

CUresult CUDAAPI hook_cuModuleLoadDataEx(CUmodule *ret_module, const void *image,
	unsigned int option_count, CUjit_option *options, void **values)
{
	CUmodule module = NULL;
	struct load load;

	if (ret_module == NULL)
		return driver.cuModuleLoadDataEx(ret_module, image, option_count, options, values);
	begin_load(&load);
	CUresult res = driver.cuModuleLoadDataEx(&module, image, option_count, options, values);
	return end_load(&load, res, module, ret_module);
}

CUresult CUDAAPI hook_cuModuleLoadFatBinary(CUmodule *ret_module, const void *image)
{
	return load_image(driver.cuModuleLoadFatBinary, ret_module, image);
}

static CUresult end_unload(bool is_ours, const struct holding *holding, CUresult res)
{
	if (is_ours && res == CUDA_SUCCESS)
		ledger_give_back(holding);
	else if (is_ours)
		ledger_put_back(holding);
	return res;
}

CUresult CUDAAPI hook_cuModuleUnload(CUmodule module)
{
	struct holding holding;
	bool is_ours = ledger_take_out(ledger_key(LEDGER_MODULE, (uintptr_t)module), &holding);

	/* Handles of its functions may be others' from now on. */
	governor_doubt(COSTS_ALL);
	return end_unload(is_ours, &holding, driver.cuModuleUnload(module));
}

/* Where libraries were seen to be loaded: an entry for each context and library, whose bytes stand
 * in the ledger under a key that is made up. Wiped at fork, for nothing of it passes to children.
 */
#define FIRST_CAPACITY 64
static struct libraries {
	struct lock lock;
	size_t count, capacity;
	struct loaded {
		CUlibrary library;
		CUcontext context;
		uint64_t key;
		bool is_leaving; /* is being unloaded: its handle may be another's soon */
	} * table;               /* in no order */
	uint64_t last_number;
} * libraries;

/* Above the addresses of handles, which have 47 bits, or 56. */
#define FIRST_NUMBER (1ull << 55)

bool hooks_module_init(void)
{
	libraries = wipe_alloc(sizeof(*libraries));
	return libraries != NULL;
}

/* With the lock held. */
static bool has_room(void)
{
	size_t capacity = libraries->capacity == 0 ? FIRST_CAPACITY : libraries->capacity * 2;

	if (libraries->count < libraries->capacity)
		return true;
	struct loaded *table = pages_alloc(capacity * sizeof(*table));
	if (table == NULL)
		return false;
	for (size_t i = 0; i < libraries->count; i++)
		table[i] = libraries->table[i];
	pages_free(libraries->table, libraries->capacity * sizeof(*table));
	libraries->table = table;
	libraries->capacity = capacity;
	return true;
}

static bool is_loaded(CUlibrary library, CUcontext context)
{
	bool is_found = false;

	lock_take(&libraries->lock);
	for (size_t i = 0; i < libraries->count && !is_found; i++)
		is_found = libraries->table[i].library == library &&
			   libraries->table[i].context == context &&
			   !libraries->table[i].is_leaving;
	lock_drop(&libraries->lock);
	return is_found;
}

/* Returns the key for its bytes, 0 without memory. */
static uint64_t remember(CUlibrary library, CUcontext context)
{
	uint64_t key = 0;

	lock_take(&libraries->lock);
	if (has_room()) {
		key = ledger_key(LEDGER_MODULE, FIRST_NUMBER + ++libraries->last_number);
		libraries->table[libraries->count++] =
			(struct loaded){.library = library, .context = context, .key = key};
	}
	lock_drop(&libraries->lock);
	return key;
}

static void set_leaving(CUlibrary library, bool is_leaving)
{
	lock_take(&libraries->lock);
	for (size_t i = 0; i < libraries->count; i++) {
		if (libraries->table[i].library == library)
			libraries->table[i].is_leaving = is_leaving;
	}
	lock_drop(&libraries->lock);
}

/* Removes the first entry of `library` that is leaving, or of `context` where that is NULL. */
static bool forget(CUlibrary library, CUcontext context, uint64_t *ret_key)
{
	bool is_found = false;

	lock_take(&libraries->lock);
	for (size_t i = 0; i < libraries->count && !is_found; i++) {
		struct loaded *at = &libraries->table[i];
		is_found = library != NULL ? at->is_leaving && at->library == library
					   : at->context == context;
		if (is_found) {
			*ret_key = at->key;
			*at = libraries->table[--libraries->count];
		}
	}
	lock_drop(&libraries->lock);
	return is_found;
}

/* The ledger gives its bytes back by itself. */
void hooks_module_drop_context(CUcontext context)
{
	uint64_t key;

	while (forget(NULL, context, &key))
		;
}

/* With the footprints locked. An entry of no bytes says that the library was looked at. */
static void charge_library(const struct load *load, CUlibrary library, bool is_certain)
{
	struct reservation reservation;
	uint64_t bytes;

	if (!footprint_taken(&load->footprint, &bytes) || (bytes == 0 && !is_certain) ||
		is_loaded(library, load->context) ||
		!ledger_reserve(load->footprint.device, LEDGER_MODULE, 0, &reservation))
		return;
	ledger_settle(&reservation, ledger_round(bytes));
	uint64_t key = remember(library, load->context);
	if (key == 0 || !ledger_commit(&reservation, key, load->context))
		ledger_cancel(&reservation);
}

/* `is_certain` where the library is in the context now, if it was not before. */
static CUresult end_library(struct load *load, CUresult res, CUlibrary library, bool is_certain)
{
	if (!load->is_counted)
		return res;
	footprint_lock(&load->footprint);
	if (res == CUDA_SUCCESS)
		charge_library(load, library, is_certain);
	footprint_done(&load->footprint);
	return res;
}

CUresult CUDAAPI hook_cuLibraryLoadData(CUlibrary *ret_library, const void *code,
	CUjit_option *jit_options, void **jit_values, unsigned int jit_count,
	CUlibraryOption *options, void **values, unsigned int count)
{
	struct load load;

	begin_load(&load);
	CUresult res = driver.cuLibraryLoadData(
		ret_library, code, jit_options, jit_values, jit_count, options, values, count);
	return end_library(&load, res, ret_library != NULL ? *ret_library : NULL, false);
}

CUresult CUDAAPI hook_cuLibraryLoadFromFile(CUlibrary *ret_library, const char *path,
	CUjit_option *jit_options, void **jit_values, unsigned int jit_count,
	CUlibraryOption *options, void **values, unsigned int count)
{
	struct load load;

	begin_load(&load);
	CUresult res = driver.cuLibraryLoadFromFile(
		ret_library, path, jit_options, jit_values, jit_count, options, values, count);
	return end_library(&load, res, ret_library != NULL ? *ret_library : NULL, false);
}

/* These load the library into the current context, where it is not there yet. */
static void begin_use(CUlibrary library, struct load *ret_load)
{
	CUcontext context;

	*ret_load = (struct load){0};
	if (library != NULL && driver.cuCtxGetCurrent(&context) == CUDA_SUCCESS &&
		context != NULL && !is_loaded(library, context))
		begin_load(ret_load);
}

CUresult CUDAAPI hook_cuLibraryGetModule(CUmodule *ret_module, CUlibrary library)
{
	struct load load;

	begin_use(library, &load);
	CUresult res = driver.cuLibraryGetModule(ret_module, library);
	return end_library(&load, res, library, true);
}

CUresult CUDAAPI hook_cuLibraryGetGlobal(
	CUdeviceptr *ret_address, size_t *ret_bytes, CUlibrary library, const char *name)
{
	struct load load;

	begin_use(library, &load);
	CUresult res = driver.cuLibraryGetGlobal(ret_address, ret_bytes, library, name);
	return end_library(&load, res, library, true);
}

CUresult CUDAAPI hook_cuLibraryGetManaged(
	CUdeviceptr *ret_address, size_t *ret_bytes, CUlibrary library, const char *name)
{
	struct load load;

	begin_use(library, &load);
	CUresult res = driver.cuLibraryGetManaged(ret_address, ret_bytes, library, name);
	return end_library(&load, res, library, false);
}

CUresult CUDAAPI hook_cuKernelGetFunction(CUfunction *ret_function, CUkernel kernel)
{
	CUlibrary library = NULL;
	struct load load;

	if (driver.cuKernelGetLibrary(&library, kernel) != CUDA_SUCCESS)
		return driver.cuKernelGetFunction(ret_function, kernel);
	begin_use(library, &load);
	CUresult res = driver.cuKernelGetFunction(ret_function, kernel);
	return end_library(&load, res, library, true);
}

CUresult CUDAAPI hook_cuLibraryUnload(CUlibrary library)
{
	struct holding holding;
	uint64_t key;

	if (library == NULL)
		return driver.cuLibraryUnload(library);
	set_leaving(library, true);
	governor_doubt(COSTS_ALL);
	ledger_begin_end();
	CUresult res = driver.cuLibraryUnload(library);
	if (res != CUDA_SUCCESS)
		set_leaving(library, false);
	while (res == CUDA_SUCCESS && forget(library, NULL, &key)) {
		if (ledger_take_out(key, &holding))
			ledger_give_back(&holding);
	}
	ledger_end_end();
	return res;
}
