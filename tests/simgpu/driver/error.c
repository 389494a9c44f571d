/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Names and descriptions of errors. They can be asked for before cuInit.
 */
#include <stddef.h>

#include <cuda.h>

struct error {
	CUresult code;
	const char *name;
	const char *description;
};

#define X(code, description) {code, #code, description},
static const struct error errors[] = {
#include "errors.def"
};
#undef X

static const struct error *find(CUresult code)
{
	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		if (errors[i].code == code)
			return &errors[i];
	}
	return NULL;
}

CUresult cuGetErrorName(CUresult error, const char **pStr)
{
	const struct error *found = find(error);

	if (!pStr)
		return CUDA_ERROR_INVALID_VALUE;
	*pStr = found ? found->name : NULL;
	return found ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuGetErrorString(CUresult error, const char **pStr)
{
	const struct error *found = find(error);

	if (!pStr)
		return CUDA_ERROR_INVALID_VALUE;
	*pStr = found ? found->description : NULL;
	return found ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
