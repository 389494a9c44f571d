/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Address to holding: against a plain reference, over growth and wrap-around, by many threads.
 */
#include "unit.h"
#include "ledger/handle_map.h"

#include <pthread.h>
#include <string.h>

#define THREADS 8

static struct handle_map map;

static int setup(void **state)
{
	(void)state;
	memset(&map, 0, sizeof(map));
	return 0;
}

static struct holding holding_of(uint64_t address)
{
	return (struct holding){
		.key = address,
		.bytes = address * 3 + 1,
		.context = (void *)(uintptr_t)(address % 7 + 1),
		.device = (uint16_t)(address % 5),
	};
}

static void assert_is_holding_of(const struct holding *holding, uint64_t address)
{
	struct holding wanted = holding_of(address);

	assert_int_equal(holding->key, wanted.key);
	assert_int_equal(holding->bytes, wanted.bytes);
	assert_ptr_equal(holding->context, wanted.context);
	assert_int_equal(holding->device, wanted.device);
}

static bool insert(uint64_t address)
{
	struct holding holding = holding_of(address), displaced;

	return handle_map_insert(&map, &holding, &displaced) && displaced.key == 0;
}

/* Mirrors hash_of() and place_of(): the tests below want collisions, and check that they have. */
static unsigned shard_of(uint64_t address)
{
	return (unsigned)((address * 0x9e3779b97f4a7c15ull) >> 58);
}

static uint32_t place_of(uint64_t address, uint32_t capacity)
{
	return (uint32_t)((address * 0x9e3779b97f4a7c15ull) >> 26) & (capacity - 1);
}

static void remove_from_empty_map_finds_nothing(void **state)
{
	struct holding holding = {.bytes = 42};

	(void)state;
	assert_false(handle_map_remove(&map, 512, &holding));
	assert_int_equal(holding.bytes, 42);
}

static void insert_then_remove_gives_the_holding_once(void **state)
{
	struct holding holding;

	(void)state;
	assert_true(insert(0x7f0000000200));

	assert_true(handle_map_remove(&map, 0x7f0000000200, &holding));
	assert_is_holding_of(&holding, 0x7f0000000200);
	assert_false(handle_map_remove(&map, 0x7f0000000200, &holding));
}

static void insert_same_address_replaces_and_hands_the_old_one_out(void **state)
{
	struct holding second = {.key = 512, .bytes = 99};
	struct holding holding;

	(void)state;
	assert_true(insert(512));
	assert_true(handle_map_insert(&map, &second, &holding));
	assert_is_holding_of(&holding, 512);

	assert_true(handle_map_remove(&map, 512, &holding));
	assert_int_equal(holding.bytes, 99);
	assert_false(handle_map_remove(&map, 512, &holding));
}

static void put_back_of_taken_address_gives_way(void **state)
{
	struct holding late = {.key = 512, .bytes = 99};
	struct holding holding;

	(void)state;
	assert_true(insert(512));
	assert_true(handle_map_put_back(&map, &late, &holding));
	assert_int_equal(holding.bytes, 99);

	assert_true(handle_map_remove(&map, 512, &holding));
	assert_is_holding_of(&holding, 512);
	assert_false(handle_map_remove(&map, 512, &holding));
}

static void put_back_of_free_address_stands_again(void **state)
{
	struct holding holding = holding_of(512), displaced = {.bytes = 42};

	(void)state;
	assert_true(handle_map_put_back(&map, &holding, &displaced));
	assert_int_equal(displaced.key, 0);
	assert_int_equal(displaced.bytes, 0);

	assert_true(handle_map_remove(&map, 512, &holding));
	assert_is_holding_of(&holding, 512);
}

static void insert_many_grows_and_keeps_all(void **state)
{
	enum { MANY = 200000 };
	struct holding holding;

	(void)state;
	for (uint64_t i = 1; i <= MANY; i++)
		assert_true(insert(0x7f0000000000 + i * 512));
	for (unsigned s = 0; s < HANDLE_MAP_SHARDS; s++)
		assert_true(map.shards[s].capacity > 128);
	for (uint64_t i = MANY; i >= 1; i--) {
		assert_true(handle_map_remove(&map, 0x7f0000000000 + i * 512, &holding));
		assert_is_holding_of(&holding, 0x7f0000000000 + i * 512);
	}
	for (unsigned s = 0; s < HANDLE_MAP_SHARDS; s++)
		assert_int_equal(map.shards[s].count, 0);
}

/* Addresses of one shard whose home is one of the last places of a table of 128. */
static unsigned find_wrapping(uint64_t addresses[], unsigned count)
{
	unsigned found = 0;

	for (uint64_t at = 512; found < count; at += 512) {
		if (shard_of(at) == 5 && place_of(at, 128) >= 124)
			addresses[found++] = at;
	}
	return found;
}

/* A run that begins at the end of the table and goes on at its start: every order of removal must
 * leave the rest to be found. */
static void remove_over_wrap_around_keeps_the_rest(void **state)
{
	enum { RUN = 12 };
	uint64_t addresses[RUN], random = 7;

	(void)state;
	find_wrapping(addresses, RUN);
	for (unsigned round = 0; round < 2000; round++) {
		struct holding holding;
		bool is_held[RUN];
		for (unsigned i = 0; i < RUN; i++) {
			assert_true(insert(addresses[i]));
			is_held[i] = true;
		}
		assert_int_equal(map.shards[5].capacity, 128);
		assert_true(map.shards[5].table[0].key != 0); /* it does wrap */
		for (unsigned gone = 0; gone < RUN / 2; gone++) {
			unsigned i = (unsigned)random_between(&random, 0, RUN - 1);
			assert_int_equal(
				handle_map_remove(&map, addresses[i], &holding), is_held[i]);
			is_held[i] = false;
		}
		for (unsigned i = 0; i < RUN; i++)
			assert_int_equal(
				handle_map_remove(&map, addresses[i], &holding), is_held[i]);
		assert_int_equal(map.shards[5].count, 0);
	}
}

/* A quarter of a million random steps over few addresses, so that most of them meet. */
static void random_steps_agree_with_a_reference(void **state)
{
	enum { ADDRESSES = 4096 };
	static uint64_t reference[ADDRESSES]; /* bytes; 0 is not held */
	uint64_t random = 3;

	(void)state;
	memset(reference, 0, sizeof(reference));
	for (unsigned step = 0; step < 250000; step++) {
		unsigned i = (unsigned)random_between(&random, 0, ADDRESSES - 1);
		struct holding holding = {
			.key = 0x10000000 + 4096ull * i,
			.bytes = random_next(&random) | 1,
		};
		if (random_next(&random) % 2 == 0) {
			struct holding displaced;
			assert_true(handle_map_insert(&map, &holding, &displaced));
			assert_int_equal(displaced.bytes, reference[i]);
			reference[i] = holding.bytes;
		} else {
			bool is_found = handle_map_remove(&map, holding.key, &holding);
			assert_int_equal(is_found, reference[i] != 0);
			if (is_found)
				assert_int_equal(holding.bytes, reference[i]);
			reference[i] = 0;
		}
	}
}

static uint64_t gone_bytes;
static unsigned gone_count;

static void note_gone(const struct holding *holding)
{
	gone_bytes += holding->bytes;
	gone_count++;
}

static void remove_context_takes_all_of_it_and_no_other(void **state)
{
	enum { MANY = 20000 };
	uint64_t wanted_bytes = 0;
	unsigned wanted_count = 0;

	(void)state;
	gone_bytes = gone_count = 0;
	for (uint64_t i = 1; i <= MANY; i++) {
		struct holding holding = holding_of(i * 512);
		assert_true(insert(i * 512));
		if (holding.context == (void *)3) {
			wanted_bytes += holding.bytes;
			wanted_count++;
		}
	}

	handle_map_remove_context(&map, (void *)3, note_gone);

	assert_true(wanted_count > 1000);
	assert_int_equal(gone_count, wanted_count);
	assert_int_equal(gone_bytes, wanted_bytes);
	for (uint64_t i = 1; i <= MANY; i++) {
		struct holding holding;
		bool is_other = holding_of(i * 512).context != (void *)3;
		assert_int_equal(handle_map_remove(&map, i * 512, &holding), is_other);
	}
}

/* A run over the wrap-around: taking one out moves entries that were not looked at yet to places
 * that were. */
static void remove_context_over_wrap_around_takes_all(void **state)
{
	enum { RUN = 12 };
	uint64_t addresses[RUN];
	struct holding displaced;

	(void)state;
	gone_bytes = gone_count = 0;
	find_wrapping(addresses, RUN);
	for (unsigned i = 0; i < RUN; i++) {
		struct holding holding = {
			.key = addresses[i],
			.bytes = 1,
			.context = i % 3 == 0 ? (void *)1 : (void *)2,
		};
		assert_true(handle_map_insert(&map, &holding, &displaced));
	}

	handle_map_remove_context(&map, (void *)2, note_gone);
	assert_int_equal(gone_count, 8);
	handle_map_remove_context(&map, (void *)1, note_gone);
	assert_int_equal(gone_count, RUN);
	assert_int_equal(map.shards[5].count, 0);
}

struct worker {
	pthread_t thread;
	uint64_t number;
	unsigned mistakes;
};

/* Each has addresses of its own, but they share all shards. */
static void *work(void *data)
{
	enum { OWN = 512 };
	struct worker *worker = data;
	uint64_t random = worker->number + 100;
	bool is_held[OWN] = {false};

	for (unsigned step = 0; step < 50000; step++) {
		unsigned i = (unsigned)random_between(&random, 0, OWN - 1);
		uint64_t address = (i * THREADS + worker->number + 1) * 512;
		struct holding holding;
		if (is_held[i]) {
			worker->mistakes += !handle_map_remove(&map, address, &holding) ||
					    holding.bytes != address * 3 + 1;
		} else {
			worker->mistakes += !insert(address);
		}
		is_held[i] = !is_held[i];
	}
	for (unsigned i = 0; i < OWN; i++) {
		struct holding holding;
		uint64_t address = (i * THREADS + worker->number + 1) * 512;
		worker->mistakes += handle_map_remove(&map, address, &holding) != is_held[i];
	}
	return NULL;
}

static void threads_do_not_disturb_each_other(void **state)
{
	struct worker workers[THREADS];

	(void)state;
	for (unsigned i = 0; i < THREADS; i++) {
		workers[i] = (struct worker){.number = i};
		assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(workers[i].thread, NULL);
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(workers[i].mistakes, 0);
	for (unsigned s = 0; s < HANDLE_MAP_SHARDS; s++)
		assert_int_equal(map.shards[s].count, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(remove_from_empty_map_finds_nothing, setup),
		cmocka_unit_test_setup(insert_then_remove_gives_the_holding_once, setup),
		cmocka_unit_test_setup(
			insert_same_address_replaces_and_hands_the_old_one_out, setup),
		cmocka_unit_test_setup(put_back_of_taken_address_gives_way, setup),
		cmocka_unit_test_setup(put_back_of_free_address_stands_again, setup),
		cmocka_unit_test_setup(insert_many_grows_and_keeps_all, setup),
		cmocka_unit_test_setup(remove_over_wrap_around_keeps_the_rest, setup),
		cmocka_unit_test_setup(random_steps_agree_with_a_reference, setup),
		cmocka_unit_test_setup(remove_context_takes_all_of_it_and_no_other, setup),
		cmocka_unit_test_setup(remove_context_over_wrap_around_takes_all, setup),
		cmocka_unit_test_setup(threads_do_not_disturb_each_other, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
