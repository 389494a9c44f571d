/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "hooks/array_costs.h"
#include "base/lock.h"
#include "base/wipe.h"
#include "driver/cuda_api.h"
#include "ledger/ledger.h"

#include <string.h>

#define PLACES 256u /* shapes that are remembered; of two in one place the later stays */

/* The least drop that was seen this often is believed, though no two in a row were the same: arrays
 * that share a page drop the free memory now by a page, now by nothing. */
#define MOST_DROPS 8

/* Padding beyond which a drop is somebody else's: rows of 512 bytes, blocks of 128 rows and 32
 * slices, slices of 64 KiB and pages of 2 MiB. NVIDIA's GPUs lay arrays out in blocks of 64 bytes
 * by 8 rows that are stacked up to 32 high and 32 deep. */
#define MOST_ELEMENT_BITS 128u /* of a format that is not known here */
#define MOST_ROW_BYTES    512u
#define MOST_ROWS         128u
#define MOST_SLICES       32u
#define MOST_SLICE_BYTES  (64u << 10)
#define PAGE_BYTES        (2u << 20)

/* Wiped at fork: another thread may have held the lock. */
static struct array_costs {
	struct lock lock;
	struct place {
		struct array_shape shape; /* all zero: unused, and costs nothing */
		enum array_knowledge knowledge;
		unsigned drops;
		uint64_t least_seen, last_seen;
		uint64_t bytes; /* once it is settled */
	} places[PLACES];
} * costs;

bool array_costs_init(void)
{
	costs = wipe_alloc(sizeof(*costs));
	return costs != NULL;
}

bool array_is_unbacked(const struct array_shape *shape)
{
	return (shape->flags & (CUDA_ARRAY3D_SPARSE | CUDA_ARRAY3D_DEFERRED_MAPPING)) != 0;
}

/* All that follow keep UINT64_MAX, which stands for too much. */
static uint64_t multiply(uint64_t a, uint64_t b)
{
	uint64_t product;

	return __builtin_mul_overflow(a, b, &product) ? UINT64_MAX : product;
}

static uint64_t add(uint64_t a, uint64_t b)
{
	uint64_t sum;

	return __builtin_add_overflow(a, b, &sum) ? UINT64_MAX : sum;
}

static uint64_t round_up(uint64_t value, uint64_t unit)
{
	uint64_t sum = add(value, unit - 1);

	return sum == UINT64_MAX ? sum : sum - sum % unit;
}

static uint64_t at_least_1(uint64_t extent)
{
	return extent > 0 ? extent : 1;
}

/* Of formats in which one number is all of the element, or shared by several. */
static uint64_t bits_of_whole(uint32_t format)
{
	switch (format) {
	case CU_AD_FORMAT_BC1_UNORM:
	case CU_AD_FORMAT_BC1_UNORM_SRGB:
	case CU_AD_FORMAT_BC4_UNORM:
	case CU_AD_FORMAT_BC4_SNORM:
		return 4;
	case CU_AD_FORMAT_BC2_UNORM:
	case CU_AD_FORMAT_BC2_UNORM_SRGB:
	case CU_AD_FORMAT_BC3_UNORM:
	case CU_AD_FORMAT_BC3_UNORM_SRGB:
	case CU_AD_FORMAT_BC5_UNORM:
	case CU_AD_FORMAT_BC5_SNORM:
	case CU_AD_FORMAT_BC6H_UF16:
	case CU_AD_FORMAT_BC6H_SF16:
	case CU_AD_FORMAT_BC7_UNORM:
	case CU_AD_FORMAT_BC7_UNORM_SRGB:
	case CU_AD_FORMAT_UNORM_INT8X1:
	case CU_AD_FORMAT_SNORM_INT8X1:
		return 8;
	case CU_AD_FORMAT_NV12:
		return 12;
	case CU_AD_FORMAT_UNORM_INT8X2:
	case CU_AD_FORMAT_SNORM_INT8X2:
	case CU_AD_FORMAT_UNORM_INT16X1:
	case CU_AD_FORMAT_SNORM_INT16X1:
	case CU_AD_FORMAT_NV16:
	case CU_AD_FORMAT_YUY2:
		return 16;
	case CU_AD_FORMAT_P010:
	case CU_AD_FORMAT_P016:
	case CU_AD_FORMAT_Y444_PLANAR8:
	case CU_AD_FORMAT_YUV444_8bit_SemiPlanar:
		return 24;
	case CU_AD_FORMAT_UNORM_INT8X4:
	case CU_AD_FORMAT_SNORM_INT8X4:
	case CU_AD_FORMAT_UNORM_INT16X2:
	case CU_AD_FORMAT_SNORM_INT16X2:
	case CU_AD_FORMAT_P210:
	case CU_AD_FORMAT_P216:
	case CU_AD_FORMAT_Y210:
	case CU_AD_FORMAT_Y216:
	case CU_AD_FORMAT_AYUV:
	case CU_AD_FORMAT_Y410:
	case CU_AD_FORMAT_UNORM_INT_101010_2:
		return 32;
	case CU_AD_FORMAT_Y444_PLANAR10:
	case CU_AD_FORMAT_YUV444_16bit_SemiPlanar:
		return 48;
	case CU_AD_FORMAT_UNORM_INT16X4:
	case CU_AD_FORMAT_SNORM_INT16X4:
	case CU_AD_FORMAT_Y416:
		return 64;
	default:
		return 0;
	}
}

static uint64_t element_bits(const struct array_shape *shape)
{
	switch (shape->format) {
	case CU_AD_FORMAT_UNSIGNED_INT8:
	case CU_AD_FORMAT_SIGNED_INT8:
		return 8ull * shape->channels;
	case CU_AD_FORMAT_UNSIGNED_INT16:
	case CU_AD_FORMAT_SIGNED_INT16:
	case CU_AD_FORMAT_HALF:
		return 16ull * shape->channels;
	case CU_AD_FORMAT_UNSIGNED_INT32:
	case CU_AD_FORMAT_SIGNED_INT32:
	case CU_AD_FORMAT_FLOAT:
		return 32ull * shape->channels;
	default:
		return bits_of_whole(shape->format);
	}
}

static bool has_layers(const struct array_shape *shape)
{
	return (shape->flags & (CUDA_ARRAY3D_LAYERED | CUDA_ARRAY3D_CUBEMAP)) != 0;
}

/* One level: each extent but the number of layers is half of that of the level above. */
static struct array_shape level_of(const struct array_shape *shape, unsigned level)
{
	struct array_shape result = *shape;

	result.width = at_least_1(shape->width >> level);
	result.height = at_least_1(shape->height >> level);
	result.depth = has_layers(shape) ? shape->depth : shape->depth >> level;
	result.depth = at_least_1(result.depth);
	return result;
}

static uint64_t row_bytes(uint64_t width, uint64_t bits)
{
	uint64_t row_bits = multiply(width, bits);

	return row_bits < UINT64_MAX ? add(row_bits, 7) / 8 : row_bits;
}

static uint64_t least_of_level(const struct array_shape *level)
{
	uint64_t bits = multiply(level->width, element_bits(level));

	bits = multiply(multiply(bits, level->height), level->depth);
	if (bits < UINT64_MAX)
		return add(bits, 7) / 8;
	/* Bits overflow long before bytes do. */
	uint64_t row = row_bytes(level->width, element_bits(level));
	return multiply(multiply(row, level->height), level->depth);
}

static uint64_t most_of_level(const struct array_shape *level)
{
	uint64_t rows = round_up(level->height, MOST_ROWS);
	uint64_t slices = has_layers(level) || level->depth == 1
				  ? level->depth
				  : round_up(level->depth, MOST_SLICES);
	uint64_t bits = element_bits(level);
	uint64_t row = row_bytes(level->width, bits > 0 ? bits : MOST_ELEMENT_BITS);
	uint64_t slice = multiply(round_up(row, MOST_ROW_BYTES), rows);

	return multiply(round_up(slice, MOST_SLICE_BYTES), slices);
}

/* More levels than there can be are as few as there can be, for the driver: those of one element
 * only are harmless to count. */
static unsigned level_count(const struct array_shape *shape)
{
	uint64_t longest = shape->width | shape->height | shape->depth;
	unsigned most = 64u - (unsigned)__builtin_clzll(longest | 1);
	unsigned levels = shape->levels > 0 ? shape->levels : 1;

	return levels < most ? levels : most;
}

static uint64_t sum_of_levels(
	const struct array_shape *shape, uint64_t (*bytes_of)(const struct array_shape *))
{
	uint64_t bytes = 0;

	for (unsigned i = 0; i < level_count(shape); i++) {
		struct array_shape level = level_of(shape, i);
		bytes = add(bytes, bytes_of(&level));
	}
	return bytes;
}

uint64_t array_least_bytes(const struct array_shape *shape)
{
	return shape->width == 0 ? 0 : sum_of_levels(shape, least_of_level);
}

uint64_t array_most_bytes(const struct array_shape *shape)
{
	return round_up(sum_of_levels(shape, most_of_level), PAGE_BYTES);
}

static bool is_same(const struct array_shape *a, const struct array_shape *b)
{
	return a->width == b->width && a->height == b->height && a->depth == b->depth &&
	       a->format == b->format && a->channels == b->channels && a->flags == b->flags &&
	       a->levels == b->levels && a->device == b->device;
}

static struct place *place_of(const struct array_shape *shape)
{
	const uint64_t parts[] = {shape->width, shape->height, shape->depth, shape->format,
		shape->channels, shape->flags, shape->levels, shape->device};
	uint64_t hash = 0;

	for (unsigned i = 0; i < ARRAY_LEN(parts); i++)
		hash = (hash ^ parts[i]) * 0x9e3779b97f4a7c15ull;
	return &costs->places[hash >> 40 & (PLACES - 1)];
}

/* The shape's place, cleared of another that stood there. With the lock held. */
static struct place *own_place(const struct array_shape *shape)
{
	struct place *place = place_of(shape);

	if (!is_same(&place->shape, shape))
		*place = (struct place){.shape = *shape};
	return place;
}

static uint64_t cost_of(const struct place *place)
{
	if (place->knowledge == ARRAY_SETTLED)
		return place->bytes;
	return place->drops > 0 ? place->least_seen : array_least_bytes(&place->shape);
}

void array_costs_find(const struct array_shape *shape, struct array_cost *ret_cost)
{
	lock_take(&costs->lock);
	const struct place *place = place_of(shape);
	if (is_same(&place->shape, shape))
		*ret_cost = (struct array_cost){cost_of(place), place->knowledge};
	else
		*ret_cost = (struct array_cost){array_least_bytes(shape), ARRAY_UNKNOWN};
	lock_drop(&costs->lock);
}

static void settle(struct place *place, uint64_t bytes)
{
	place->knowledge = ARRAY_SETTLED;
	place->bytes = bytes;
}

uint64_t array_costs_told(const struct array_shape *shape, uint64_t bytes)
{
	uint64_t least = array_least_bytes(shape);

	lock_take(&costs->lock);
	struct place *place = own_place(shape);
	if (place->knowledge == ARRAY_UNKNOWN)
		place->knowledge = ARRAY_MEASURED;
	if (bytes > 0)
		settle(place, bytes > least ? bytes : least);
	uint64_t cost = cost_of(place);
	lock_drop(&costs->lock);
	return cost;
}

static void see(struct place *place, uint64_t bytes)
{
	bool is_same_again = place->drops > 0 && bytes == place->last_seen;

	if (place->drops == 0 || bytes < place->least_seen)
		place->least_seen = bytes;
	place->last_seen = bytes;
	place->drops++;
	if (is_same_again || place->drops >= MOST_DROPS)
		settle(place, is_same_again ? bytes : place->least_seen);
}

uint64_t array_costs_saw_drop(const struct array_shape *shape, int64_t bytes)
{
	uint64_t least = array_least_bytes(shape), most = array_most_bytes(shape);
	uint64_t drop = bytes > 0 && (uint64_t)bytes > least ? (uint64_t)bytes : least;

	lock_take(&costs->lock);
	struct place *place = own_place(shape);
	if (drop <= most && place->knowledge != ARRAY_SETTLED)
		see(place, drop);
	uint64_t cost = cost_of(place);
	lock_drop(&costs->lock);
	return cost;
}
