/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Texture and surface objects: handles that remember what they were made of. No kernel reads
 * through them.
 */
#include "array.h"
#include "context.h"
#include "entry.h"
#include "memory.h"

struct object {
	struct handle handle;
	CUDA_RESOURCE_DESC resource;
	CUDA_TEXTURE_DESC texture;
	CUDA_RESOURCE_VIEW_DESC view;
	bool has_view;
};

static bool is_resource(const CUDA_RESOURCE_DESC *resource)
{
	struct memory memory;

	if (!resource || resource->flags)
		return false;
	switch (resource->resType) {
	case CU_RESOURCE_TYPE_ARRAY:
		return handle_is(resource->res.array.hArray, HANDLE_ARRAY);
	case CU_RESOURCE_TYPE_MIPMAPPED_ARRAY:
		return handle_is(resource->res.mipmap.hMipmappedArray, HANDLE_MIPMAP);
	case CU_RESOURCE_TYPE_LINEAR:
		return memory_find(resource->res.linear.devPtr, &memory);
	case CU_RESOURCE_TYPE_PITCH2D:
		return memory_find(resource->res.pitch2D.devPtr, &memory);
	default:
		return false;
	}
}

static CUresult create(
	enum handle_kind kind, const CUDA_RESOURCE_DESC *resource, struct object **ret_object)
{
	CUcontext ctx;

	if (!is_resource(resource))
		return CUDA_ERROR_INVALID_VALUE;
	const CUresult result = context_current_home(&ctx);

	if (result != CUDA_SUCCESS)
		return result;
	struct object *object = handle_create(kind, sizeof(*object));

	if (!object)
		return CUDA_ERROR_OUT_OF_MEMORY;
	object->resource = *resource;
	*ret_object = object;
	return CUDA_SUCCESS;
}

static struct object *object_of(enum handle_kind kind, unsigned long long number)
{
	struct object *object = (struct object *)(uintptr_t)number;

	return handle_is(object, kind) ? object : NULL;
}

static CUresult destroy(enum handle_kind kind, unsigned long long number)
{
	struct object *object = object_of(kind, number);

	if (!object)
		return CUDA_ERROR_INVALID_VALUE;
	handle_recycle(&object->handle, kind);
	return CUDA_SUCCESS;
}

CUresult cuTexObjectCreate(CUtexObject *pTexObject, const CUDA_RESOURCE_DESC *pResDesc,
	const CUDA_TEXTURE_DESC *pTexDesc, const CUDA_RESOURCE_VIEW_DESC *pResViewDesc)
{
	struct object *object;

	ENTER(cuTexObjectCreate);
	if (!pTexObject || !pTexDesc)
		return CUDA_ERROR_INVALID_VALUE;
	const CUresult result = create(HANDLE_TEXTURE, pResDesc, &object);

	if (result != CUDA_SUCCESS)
		return result;
	object->texture = *pTexDesc;
	object->has_view = pResViewDesc != NULL;
	if (pResViewDesc)
		object->view = *pResViewDesc;
	*pTexObject = (uintptr_t)object;
	return CUDA_SUCCESS;
}

CUresult cuTexObjectDestroy(CUtexObject texObject)
{
	ENTER(cuTexObjectDestroy);
	return destroy(HANDLE_TEXTURE, texObject);
}

CUresult cuTexObjectGetResourceDesc(CUDA_RESOURCE_DESC *pResDesc, CUtexObject texObject)
{
	ENTER(cuTexObjectGetResourceDesc);
	const struct object *object = object_of(HANDLE_TEXTURE, texObject);

	if (!pResDesc || !object)
		return CUDA_ERROR_INVALID_VALUE;
	*pResDesc = object->resource;
	return CUDA_SUCCESS;
}

CUresult cuTexObjectGetTextureDesc(CUDA_TEXTURE_DESC *pTexDesc, CUtexObject texObject)
{
	ENTER(cuTexObjectGetTextureDesc);
	const struct object *object = object_of(HANDLE_TEXTURE, texObject);

	if (!pTexDesc || !object)
		return CUDA_ERROR_INVALID_VALUE;
	*pTexDesc = object->texture;
	return CUDA_SUCCESS;
}

CUresult cuTexObjectGetResourceViewDesc(
	CUDA_RESOURCE_VIEW_DESC *pResViewDesc, CUtexObject texObject)
{
	ENTER(cuTexObjectGetResourceViewDesc);
	const struct object *object = object_of(HANDLE_TEXTURE, texObject);

	if (!pResViewDesc || !object || !object->has_view)
		return CUDA_ERROR_INVALID_VALUE;
	*pResViewDesc = object->view;
	return CUDA_SUCCESS;
}

CUresult cuSurfObjectCreate(CUsurfObject *pSurfObject, const CUDA_RESOURCE_DESC *pResDesc)
{
	struct object *object;

	ENTER(cuSurfObjectCreate);
	if (!pSurfObject || !pResDesc || pResDesc->resType != CU_RESOURCE_TYPE_ARRAY)
		return CUDA_ERROR_INVALID_VALUE;
	const CUresult result = create(HANDLE_SURFACE, pResDesc, &object);

	if (result == CUDA_SUCCESS)
		*pSurfObject = (uintptr_t)object;
	return result;
}

CUresult cuSurfObjectDestroy(CUsurfObject surfObject)
{
	ENTER(cuSurfObjectDestroy);
	return destroy(HANDLE_SURFACE, surfObject);
}

CUresult cuSurfObjectGetResourceDesc(CUDA_RESOURCE_DESC *pResDesc, CUsurfObject surfObject)
{
	ENTER(cuSurfObjectGetResourceDesc);
	const struct object *object = object_of(HANDLE_SURFACE, surfObject);

	if (!pResDesc || !object)
		return CUDA_ERROR_INVALID_VALUE;
	*pResDesc = object->resource;
	return CUDA_SUCCESS;
}
