/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * External memory: what Vulkan, another process or another device's driver allocated. Nobody has
 * charged it to this slice, so importing it does. Buffers and arrays that are mapped onto it are
 * views and cost no more.
 */
#include "driver/driver.h"
#include "hooks/charge.h"
#include "hooks/hooks.h"

/* cuda.h names no CUDA_ERROR_OUT_OF_MEMORY for an import. */
#define NO_ROOM CUDA_ERROR_OPERATING_SYSTEM

CUresult CUDAAPI hook_cuImportExternalMemory(
	CUexternalMemory *ret_memory, const CUDA_EXTERNAL_MEMORY_HANDLE_DESC *description)
{
	CUexternalMemory memory = NULL;
	struct charge charge;

	if (ret_memory == NULL || description == NULL)
		return driver.cuImportExternalMemory(ret_memory, description);
	if (!charge_begin(LEDGER_IMPORT, description->size, &charge))
		return NO_ROOM;
	CUresult res = driver.cuImportExternalMemory(&memory, description);
	/* What was reserved is what is charged, so only memory for the books can be lacking. The
	 * descriptor is the driver's by now: to refuse would lose it, so it goes uncounted. */
	(void)!charge_end(&charge, res, (uintptr_t)memory, description->size);
	if (res == CUDA_SUCCESS)
		*ret_memory = memory;
	return res;
}

CUresult CUDAAPI hook_cuDestroyExternalMemory(CUexternalMemory memory)
{
	struct holding holding;
	bool is_ours = ledger_take_out(ledger_key(LEDGER_IMPORT, (uintptr_t)memory), &holding);

	CUresult res = driver.cuDestroyExternalMemory(memory);
	if (is_ours && res == CUDA_SUCCESS)
		ledger_give_back(&holding);
	else if (is_ours)
		ledger_put_back(&holding);
	return res;
}
