/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * cuInit, and the driver's own lookup of its functions.
 */
#include "base/cancel.h"
#include "base/log.h"
#include "driver/driver.h"
#include "entry/entry.h"
#include "entry/once.h"
#include "hooks/hooks.h"
#include "partition/mps.h"
#include "slice/slice.h"
#include "slice/watch.h"

#include <stdatomic.h>

/* Said when the program first uses CUDA, once, and not before: a shell with the same environment
 * has no use for it. */
static void log_problems(const struct config *config)
{
	static atomic_flag is_said = ATOMIC_FLAG_INIT;
	bool is_refused = config_is_refused(config);
	enum log_level level = is_refused ? LOG_ERROR : LOG_WARN;

	if (config->problem_count == 0 || atomic_flag_test_and_set(&is_said))
		return;
	for (unsigned i = 0; i < config->problem_count && i < CONFIG_MAX_PROBLEMS; i++)
		log_at(level, "config", "%s", config->problems[i]);
	if (config->problem_count > CONFIG_MAX_PROBLEMS)
		log_at(level, "config", "and %u more", config->problem_count - CONFIG_MAX_PROBLEMS);
	if (is_refused)
		log_at(level, "config",
			"no GPU for this program, rather than an unlimited one "
			"(CUSLICE_ON_ERROR=warn ignores what is not understood, but in a policy)");
}

/* The driver reads the percentage in its cuInit. */
static void begin_mps(void)
{
	static struct once once;

	if (once_is_done(&once))
		return;
	/* A thread cancelled at connect() would leave it claimed for ever. */
	int cancel_state = cancel_hold();
	if (once_claim(&once) == ONCE_MINE) {
		mps_begin(entry_config());
		once_finish(&once);
	}
	cancel_restore(cancel_state);
}

CUresult CUDAAPI hook_cuInit(unsigned int flags)
{
	log_problems(entry_config());
	if (config_is_refused(entry_config()))
		return CUDA_ERROR_NO_DEVICE;
	begin_mps();
	CUresult res = driver.cuInit(flags);
	if (res != CUDA_SUCCESS)
		return res;
	if (!slice_resolve())
		return CUDA_ERROR_NO_DEVICE;
	watch_begin();
	return CUDA_SUCCESS;
}

/* The driver answers first: which symbol a version and a flag stand for is its choice. */
CUresult CUDAAPI hook_cuGetProcAddress(
	const char *symbol, void **pfn, int cuda_version, cuuint64_t flags)
{
	CUresult res = driver.cuGetProcAddress(symbol, pfn, cuda_version, flags);

	if (res == CUDA_SUCCESS && pfn != NULL)
		*pfn = entry_route(*pfn);
	return res;
}

CUresult CUDAAPI hook_cuGetProcAddress_v2(const char *symbol, void **pfn, int cuda_version,
	cuuint64_t flags, CUdriverProcAddressQueryResult *status)
{
	CUresult res = driver.cuGetProcAddress_v2(symbol, pfn, cuda_version, flags, status);

	if (res == CUDA_SUCCESS && pfn != NULL)
		*pfn = entry_route(*pfn);
	return res;
}
