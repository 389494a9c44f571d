/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * cuGetProcAddress and cuGetExportTable. The table of names is generated from
 * tests/data/driver-procmap.csv, sorted by name, then by version.
 */
#include <stddef.h>
#include <string.h>

#include <cuda.h>

#include "entry.h"
#include "event.h"
#include "init.h"
#include "table.h"

/* simgpu's private table: its size in bytes, a constant, and how the CUDA runtime comes to primary
 * contexts on real drivers, past the exported symbols. Its uuid is made up; it lets tests see that
 * an interposer hands tables through untouched, and what it makes of such contexts. Real drivers'
 * tables are not here: programs that need them do not run on simgpu. */
static const struct {
	size_t size, constant;
	CUresult (*retain_primary)(CUcontext *, CUdevice);
	CUresult (*release_primary)(CUdevice);
} private_table = {
	.size = sizeof(private_table),
	.constant = 0x51b6d0u,
	.retain_primary = cuDevicePrimaryCtxRetain,
	.release_primary = cuDevicePrimaryCtxRelease_v2,
};

static const struct {
	CUuuid uuid;
	const void *table;
} tables[] = {
	{{.bytes = "simgpu-table-one"}, &private_table},
	{{.bytes = SIMGPU_COUNTERS_UUID}, &event_counters},
};

/* Returns the first row of `name`, or NULL. */
static const struct lookup_row *find_name(const char *name)
{
	size_t low = 0, high = lookup_row_count;

	while (low < high) {
		const size_t middle = low + (high - low) / 2;

		if (strcmp(lookup_rows[middle].name, name) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	if (low < lookup_row_count && strcmp(lookup_rows[low].name, name) == 0)
		return &lookup_rows[low];
	return NULL;
}

/* Finds the highest version of a name that is not above `version`: of its symbols for per-thread
 * default streams if there is one and those are asked for, else of the plain ones. */
static CUdriverProcAddressQueryResult search(
	const char *name, int version, bool is_per_thread, void **ret_address)
{
	const struct lookup_row *row = find_name(name);
	const struct lookup_row *end = lookup_rows + lookup_row_count;
	const struct lookup_row *best = NULL;
	const int newest = driver_version();
	bool is_known = false;

	if (!row)
		return CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
	for (const char *same = row->name; row < end && strcmp(row->name, same) == 0; row++) {
		const bool is_worse = best && best->is_per_thread && !row->is_per_thread;

		/* A driver does not know what came after it. */
		if (row->version > newest)
			continue;
		is_known = true;
		if (row->version <= version && (is_per_thread || !row->is_per_thread) && !is_worse)
			best = row;
	}
	if (!best)
		return is_known ? CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT
				: CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
	*ret_address = best->address;
	return CU_GET_PROC_ADDRESS_SUCCESS;
}

static CUresult look_up(const char *symbol, void **pfn, int version, cuuint64_t flags,
	CUdriverProcAddressQueryResult *ret_status)
{
	const cuuint64_t known =
		CU_GET_PROC_ADDRESS_LEGACY_STREAM | CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM;

	if (!symbol || !*symbol || !pfn || (flags & ~known) || flags == known)
		return CUDA_ERROR_INVALID_VALUE;
	*pfn = NULL;
	const CUdriverProcAddressQueryResult status = search(
		symbol, version, flags == CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM, pfn);

	if (ret_status)
		*ret_status = status;
	return status == CU_GET_PROC_ADDRESS_SUCCESS ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}

/* Lookups work before cuInit; failures can be injected once it is done. */
static CUresult check(const char *symbol)
{
	const int mode = atomic_load_explicit(&entry.mode, memory_order_acquire);

	return mode == ENTRY_LIVE ? entry_check(symbol) : CUDA_SUCCESS;
}

/* cuda.h renames the second one for its users. */
#undef cuGetProcAddress
#undef cuGetProcAddress_v2

CUresult cuGetProcAddress(const char *symbol, void **pfn, int cudaVersion, cuuint64_t flags)
{
	const CUresult refusal = check("cuGetProcAddress");

	return refusal == CUDA_SUCCESS ? look_up(symbol, pfn, cudaVersion, flags, NULL) : refusal;
}

CUresult cuGetProcAddress_v2(const char *symbol, void **pfn, int cudaVersion, cuuint64_t flags,
	CUdriverProcAddressQueryResult *symbolStatus)
{
	const CUresult refusal = check("cuGetProcAddress_v2");

	return refusal == CUDA_SUCCESS ? look_up(symbol, pfn, cudaVersion, flags, symbolStatus)
				       : refusal;
}

CUresult cuGetExportTable(const void **ppExportTable, const CUuuid *pExportTableId)
{
	const CUresult refusal = check("cuGetExportTable");

	if (refusal != CUDA_SUCCESS)
		return refusal;
	if (!ppExportTable || !pExportTableId)
		return CUDA_ERROR_INVALID_VALUE;
	*ppExportTable = NULL;
	for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
		if (memcmp(pExportTableId, &tables[i].uuid, sizeof(tables[i].uuid)) == 0)
			*ppExportTable = tables[i].table;
	}
	return *ppExportTable ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}
