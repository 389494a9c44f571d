/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * What arrays cost: by their elements, by what the driver tells, by drops of the free memory.
 */
#include "unit.h"
#include "driver/cuda_api.h"
#include "hooks/array_costs.h"

#define KIB 1024ull
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)

static int setup(void **state)
{
	(void)state;
	assert_true(array_costs_init());
	return 0;
}

static struct array_shape bytes_of(uint64_t width, uint64_t height, uint64_t depth)
{
	return (struct array_shape){.width = width,
		.height = height,
		.depth = depth,
		.format = CU_AD_FORMAT_UNSIGNED_INT8,
		.channels = 1};
}

static uint64_t known(const struct array_shape *shape, enum array_knowledge *ret_knowledge)
{
	struct array_cost cost;

	array_costs_find(shape, &cost);
	*ret_knowledge = cost.knowledge;
	return cost.bytes;
}

static void least_is_the_size_of_the_elements(void **state)
{
	struct array_shape shape = {
		.width = 32768, .height = 32768, .format = CU_AD_FORMAT_FLOAT, .channels = 1};

	(void)state;
	assert_int_equal(array_least_bytes(&shape), 4 * GIB);
	shape.channels = 4;
	shape.depth = 3;
	assert_int_equal(array_least_bytes(&shape), 48 * GIB);
	shape = bytes_of(100, 0, 0);
	assert_int_equal(array_least_bytes(&shape), 100);
	shape.format = CU_AD_FORMAT_BC1_UNORM;
	assert_int_equal(array_least_bytes(&shape), 50);
	shape = (struct array_shape){
		.width = 64, .height = 32, .format = CU_AD_FORMAT_NV12, .channels = 3};
	assert_int_equal(array_least_bytes(&shape), 64 * 32 * 3 / 2);
	shape.format = CU_AD_FORMAT_UNORM_INT8X4;
	shape.channels = 4;
	assert_int_equal(array_least_bytes(&shape), 64 * 32 * 4);
	shape.format = 0x7fff;
	assert_int_equal(array_least_bytes(&shape), 0);
	assert_true(array_most_bytes(&shape) >= 64 * 32 * 16);
}

static void levels_halve_every_extent_but_the_layers(void **state)
{
	struct array_shape shape = bytes_of(4, 4, 4);

	(void)state;
	shape.levels = 3;
	assert_int_equal(array_least_bytes(&shape), 64 + 8 + 1);
	shape.flags = CUDA_ARRAY3D_LAYERED;
	assert_int_equal(array_least_bytes(&shape), 64 + 16 + 4);
	shape = bytes_of(256, 256, 0);
	shape.levels = 1;
	uint64_t one = array_least_bytes(&shape);
	shape.levels = UINT32_MAX;
	assert_in_range(array_least_bytes(&shape), one * 4 / 3, one * 4 / 3 + 1);
}

static void sizes_near_2_to_the_64_are_too_much_for_any_quota(void **state)
{
	const struct array_shape shapes[] = {
		bytes_of(UINT64_MAX, UINT64_MAX, UINT64_MAX),
		bytes_of(UINT64_MAX, 0, 0),
		bytes_of(1ull << 32, 1ull << 32, 0),
		bytes_of(1, UINT64_MAX, 1),
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(shapes); i++) {
		assert_true(array_least_bytes(&shapes[i]) >= 1ull << 61);
		assert_true(array_most_bytes(&shapes[i]) >= array_least_bytes(&shapes[i]));
	}
}

static void most_allows_for_blocks_and_no_more(void **state)
{
	struct array_shape shape = bytes_of(1, 65536, 0);

	(void)state;
	assert_int_equal(array_most_bytes(&shape), 32 * MIB);
	shape = bytes_of(1, 1, 2048);
	shape.flags = CUDA_ARRAY3D_LAYERED;
	assert_int_equal(array_most_bytes(&shape), 2048 * 64 * KIB);
	shape = bytes_of(1 << 17, 1 << 16, 0);
	assert_int_equal(array_most_bytes(&shape), 8 * GIB);
}

static void what_the_driver_tells_settles_it(void **state)
{
	struct array_shape shape = bytes_of(1000, 10, 0);
	enum array_knowledge knowledge;

	(void)state;
	assert_int_equal(known(&shape, &knowledge), 10000);
	assert_int_equal(knowledge, ARRAY_UNKNOWN);
	assert_int_equal(array_costs_told(&shape, 64 * KIB), 64 * KIB);
	assert_int_equal(known(&shape, &knowledge), 64 * KIB);
	assert_int_equal(knowledge, ARRAY_SETTLED);
	assert_int_equal(array_costs_saw_drop(&shape, 128 * KIB), 64 * KIB);

	/* Another device may lay it out in another way. */
	shape.device = 1;
	known(&shape, &knowledge);
	assert_int_equal(knowledge, ARRAY_UNKNOWN);
	/* Less than the elements is a mistake. */
	assert_int_equal(array_costs_told(&shape, 5), 10000);
}

static void the_same_drop_twice_settles_it(void **state)
{
	struct array_shape shape = bytes_of(1000, 100, 0);
	enum array_knowledge knowledge;

	(void)state;
	assert_int_equal(array_costs_told(&shape, 0), 100000);
	known(&shape, &knowledge);
	assert_int_equal(knowledge, ARRAY_MEASURED);
	/* A neighbour took 64 KiB meanwhile, then it did not, then it gave some back. */
	assert_int_equal(array_costs_saw_drop(&shape, 192 * KIB), 192 * KIB);
	assert_int_equal(array_costs_saw_drop(&shape, 128 * KIB), 128 * KIB);
	assert_int_equal(array_costs_saw_drop(&shape, -5), 100000);
	assert_int_equal(array_costs_saw_drop(&shape, 128 * KIB), 100000);
	known(&shape, &knowledge);
	assert_int_equal(knowledge, ARRAY_MEASURED);
	assert_int_equal(array_costs_saw_drop(&shape, 128 * KIB), 128 * KIB);
	known(&shape, &knowledge);
	assert_int_equal(knowledge, ARRAY_SETTLED);
	assert_int_equal(array_costs_saw_drop(&shape, 192 * KIB), 128 * KIB);
}

static void drops_beyond_what_is_plausible_are_somebody_elses(void **state)
{
	struct array_shape shape = bytes_of(1000, 100, 0);
	enum array_knowledge knowledge;

	(void)state;
	array_costs_told(&shape, 0);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(array_costs_saw_drop(&shape, (int64_t)GIB), 100000);
	assert_int_equal(array_costs_saw_drop(&shape, INT64_MIN), 100000);
	known(&shape, &knowledge);
	assert_int_equal(knowledge, ARRAY_MEASURED);
}

/* Arrays that share pages of the driver's: now one more page, now none. */
static void drops_that_never_agree_end_with_the_least(void **state)
{
	struct array_shape shape = bytes_of(1000, 1000, 0);
	enum array_knowledge knowledge;

	(void)state;
	array_costs_told(&shape, 0);
	for (unsigned i = 0; i < 8; i++)
		array_costs_saw_drop(&shape, i % 2 == 0 ? (int64_t)(2 * MIB) : 0);
	assert_int_equal(known(&shape, &knowledge), 1000000);
	assert_int_equal(knowledge, ARRAY_SETTLED);
}

static void many_shapes_do_not_mix(void **state)
{
	enum array_knowledge knowledge;

	(void)state;
	for (uint64_t i = 1; i <= 10000; i++) {
		struct array_shape shape = bytes_of(i, i % 7, i % 3);
		array_costs_told(&shape, GIB + i);
	}
	for (uint64_t i = 1; i <= 10000; i++) {
		struct array_shape shape = bytes_of(i, i % 7, i % 3);
		uint64_t bytes = known(&shape, &knowledge);
		assert_int_equal(
			bytes, knowledge == ARRAY_SETTLED ? GIB + i : array_least_bytes(&shape));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(least_is_the_size_of_the_elements),
		cmocka_unit_test(levels_halve_every_extent_but_the_layers),
		cmocka_unit_test(sizes_near_2_to_the_64_are_too_much_for_any_quota),
		cmocka_unit_test(most_allows_for_blocks_and_no_more),
		cmocka_unit_test_setup(what_the_driver_tells_settles_it, setup),
		cmocka_unit_test_setup(the_same_drop_twice_settles_it, setup),
		cmocka_unit_test_setup(drops_beyond_what_is_plausible_are_somebody_elses, setup),
		cmocka_unit_test_setup(drops_that_never_agree_end_with_the_least, setup),
		cmocka_unit_test_setup(many_shapes_do_not_mix, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
