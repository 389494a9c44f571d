/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * What is measured and reconciled while memory is on its way to this process or from it, and while
 * the quota changes. The driver and NVML are figures that the test sets.
 */
#include "unit.h"
#include "hooks/charge.h"
#include "hooks/contexts.h"
#include "hooks/footprint.h"
#include "hooks/process_figure.h"
#include "hooks/reconcile.h"
#include "hooks/settle.h"
#include "slice/slice.h"

#define MIB     (UINT64_C(1) << 20)
#define CONTEXT (100 * MIB)

struct driver driver;
_Atomic unsigned slice_device_count = LEDGER_MAX_DEVICES;

static unsigned device;
static uint64_t figure_bytes, free_bytes;
static unsigned readings;
static void (*on_reading)(void); /* what another thread does meanwhile; may be NULL */

bool slice_exists_unknown(CUdevice of_device)
{
	(void)of_device;
	return false;
}

bool process_figure_is_there(void)
{
	return true;
}

bool process_figure_is_absent(void)
{
	return false;
}

bool process_figure_is_listed(unsigned of_device)
{
	(void)of_device;
	return true;
}

bool process_figure_read(unsigned of_device, uint64_t *ret_bytes)
{
	(void)of_device;
	readings++;
	*ret_bytes = figure_bytes;
	if (on_reading != NULL)
		on_reading();
	return true;
}

bool process_figure_read_free(unsigned of_device, uint64_t *ret_bytes)
{
	(void)of_device;
	*ret_bytes = free_bytes;
	return true;
}

void process_figure_watch(unsigned of_device, struct process_watch *ret_watch)
{
	(void)of_device;
	ret_watch->is_watching = false;
}

void process_figure_learn(const struct process_watch *watch)
{
	(void)watch;
}

uint64_t settle_what_came_back(unsigned of_device)
{
	return ledger_leaving(of_device);
}

bool charge_begin_on(
	CUdevice of_device, enum ledger_kind kind, uint64_t bytes, struct charge *ret_charge)
{
	*ret_charge = (struct charge){
		.is_counted = true,
		.reservation = {.device = (unsigned)of_device, .kind = kind},
	};
	return ledger_extend_in_flight(&ret_charge->reservation, bytes, &ret_charge->flying_bytes);
}

void charge_move(struct charge *charge, struct reservation *into)
{
	into->bytes += charge->reservation.bytes;
	if (charge->flying_bytes > 0)
		ledger_end_flight(charge->reservation.device, charge->flying_bytes);
}

static CUresult CUDAAPI no_device(CUdevice *ret_device)
{
	(void)ret_device;
	return CUDA_ERROR_INVALID_CONTEXT;
}

static CUcontext context(unsigned i)
{
	return (CUcontext)(uintptr_t)(0x1000 * (i + 1));
}

/* The driver takes or gives back what nobody charges. */
static void driver_takes(int64_t bytes)
{
	figure_bytes += (uint64_t)bytes;
	free_bytes -= (uint64_t)bytes;
}

static void neighbour_takes(int64_t bytes)
{
	free_bytes -= (uint64_t)bytes;
}

/* As a hook does. */
static void allocate(uint64_t key, uint64_t bytes)
{
	struct reservation reservation;

	reconcile_before(device, bytes);
	assert_true(ledger_reserve(device, LEDGER_LINEAR, bytes, &reservation));
	driver_takes((int64_t)bytes);
	assert_true(ledger_commit(&reservation, key, NULL));
}

/* Up to the moment in which the driver has done it, and the ledger not. */
static struct holding begin_free(uint64_t key)
{
	struct holding holding;

	assert_true(ledger_take_out(key, &holding));
	driver_takes(-(int64_t)holding.bytes);
	return holding;
}

static void create(unsigned i, uint64_t bytes)
{
	struct context_charge charge;

	assert_true(contexts_begin((CUdevice)device, &charge));
	driver_takes((int64_t)bytes);
	contexts_end(&charge, CUDA_SUCCESS, context(i));
}

static uint64_t other(void)
{
	return ledger_used_for(device, LEDGER_OTHER);
}

/* What the next context is expected to take, which is reserved for it. */
static uint64_t expected(void)
{
	struct context_charge charge;
	uint64_t before = ledger_used(device);

	assert_true(contexts_begin((CUdevice)device, &charge));
	uint64_t bytes = ledger_used(device) - before;
	contexts_end(&charge, CUDA_ERROR_OUT_OF_MEMORY, NULL);
	return bytes;
}

static int setup(void **state)
{
	(void)state;
	device++; /* what contexts take there is not forgotten */
	figure_bytes = 0;
	free_bytes = 64 * 1024 * MIB;
	readings = 0;
	on_reading = NULL;
	driver.cuCtxGetDevice = no_device;
	bool is_made = ledger_init() && reconcile_init() && footprint_init() && contexts_init();
	ledger_set_quota(device, 8192 * MIB);
	return is_made ? 0 : -1;
}

/* The first reading set how much may be used before the next, by what the quota was then. */
static void figure_is_read_when_the_quota_has_become_less(void **state)
{
	static const uint64_t quotas[] = {LEDGER_UNLIMITED, 8192 * MIB};

	for (unsigned i = 0; i < ARRAY_LEN(quotas); i++) {
		setup(state);
		ledger_set_quota(device, quotas[i]);
		allocate(1, MIB);
		driver_takes(50 * MIB);
		allocate(2, MIB);
		assert_int_equal(other(), 0);

		ledger_set_quota(device, 100 * MIB);
		allocate(3, MIB);
		assert_int_equal(other(), 50 * MIB);
		unsigned before = readings;
		allocate(4, MIB);
		assert_int_equal(readings, before);
	}
}

/* Another thread loads something at that time. */
static void wish_for_a_reading_outlasts_those_who_hold(void **state)
{
	(void)state;
	allocate(1, MIB);
	driver_takes(50 * MIB);
	reconcile_hold(device);
	reconcile_soon(device);
	for (unsigned i = 0; i < 20; i++)
		allocate(10 + i, MIB);
	assert_int_equal(other(), 0);
	assert_int_equal(readings, 1);

	reconcile_resume(device);
	allocate(2, MIB);
	assert_int_equal(other(), 50 * MIB);
}

/* Somebody held, or frees went on, just while it was read. */
static void hold_and_resume(void)
{
	on_reading = NULL;
	reconcile_hold(device);
	reconcile_resume(device);
}

static void free_and_allocate(void)
{
	struct reservation reservation;

	assert_true(ledger_reserve(device, LEDGER_LINEAR, MIB, &reservation));
	ledger_cancel(&reservation);
}

static void wish_for_a_reading_outlasts_one_that_tells_nothing(void **state)
{
	(void)state;
	allocate(1, MIB);
	driver_takes(50 * MIB);
	reconcile_soon(device);
	on_reading = hold_and_resume;
	allocate(2, MIB);
	assert_int_equal(other(), 0);
	allocate(3, MIB);
	assert_int_equal(other(), 50 * MIB);

	driver_takes(20 * MIB);
	reconcile_soon(device);
	on_reading = free_and_allocate;
	allocate(4, MIB);
	assert_int_equal(other(), 50 * MIB);
	on_reading = NULL;
	allocate(5, MIB);
	assert_int_equal(other(), 70 * MIB);
}

/* By another thread: what a neighbour takes meanwhile is not charged to what is measured. */
static void nothing_is_told_while_memory_is_being_freed(void **state)
{
	struct footprint footprint;
	uint64_t bytes;

	(void)state;
	allocate(1, 300 * MIB);
	struct holding holding = begin_free(1);
	footprint_begin(device, 0, &footprint);
	driver_takes(2 * MIB);
	neighbour_takes(50 * MIB);
	footprint_lock(&footprint);
	assert_false(footprint_taken(&footprint, &bytes));
	footprint_done(&footprint);
	ledger_give_back(&holding);

	allocate(2, MIB);
	assert_int_equal(other(), 2 * MIB);
	assert_int_equal(ledger_used(device), figure_bytes);
}

static void nothing_is_told_while_a_context_ends(void **state)
{
	struct footprint footprint;
	uint64_t bytes;

	(void)state;
	create(0, CONTEXT);
	footprint_begin(device, 0, &footprint);
	ledger_begin_end();
	driver_takes(-(int64_t)CONTEXT);
	driver_takes(2 * MIB);
	neighbour_takes(150 * MIB);
	footprint_lock(&footprint);
	assert_false(footprint_taken(&footprint, &bytes));
	footprint_done(&footprint);
	ledger_drop_context(context(0));
	ledger_end_end();

	allocate(1, MIB);
	assert_int_equal(other(), 2 * MIB);
}

static void leaving_ends_however_a_free_ends(void **state)
{
	struct holding holding;

	(void)state;
	allocate(1, MIB);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(ledger_leaving(device), 0);
		assert_true(ledger_take_out(1, &holding));
		assert_int_equal(ledger_leaving(device), MIB);
		if (i == 0)
			ledger_put_back(&holding);
		else if (i == 1)
			ledger_give_back(&holding);
		else
			ledger_take_over(&holding);
		if (i == 1)
			allocate(1, MIB);
	}
	assert_int_equal(ledger_leaving(device), 0);
	ledger_begin_end();
	assert_int_equal(ledger_leaving(device), UINT64_MAX);
	ledger_end_end();
	assert_int_equal(ledger_leaving(device), 0);
}

/* What it was seen to take beside another thread's allocation, or free, would be too little for
 * all contexts to come. */
static void unknown_context_beside_an_allocation_is_not_expected_to_take_less(void **state)
{
	struct reservation reservation = {.device = device, .kind = LEDGER_LINEAR};
	uint64_t flying_bytes = 0;

	(void)state;
	driver_takes((int64_t)CONTEXT);
	assert_true(ledger_extend_in_flight(&reservation, 60 * MIB, &flying_bytes));
	contexts_see(device, context(0));
	driver_takes(60 * MIB);
	ledger_end_flight(device, flying_bytes);
	assert_true(ledger_commit(&reservation, 1, NULL));
	allocate(2, MIB);
	assert_int_equal(ledger_used(device), figure_bytes);
	assert_int_equal(expected(), 0);

	create(1, CONTEXT);
	assert_int_equal(expected(), CONTEXT);
}

static void unknown_context_beside_a_free_is_not_expected_to_take_less(void **state)
{
	(void)state;
	allocate(1, 60 * MIB);
	driver_takes((int64_t)CONTEXT);
	struct holding holding = begin_free(1);
	contexts_see(device, context(0));
	ledger_give_back(&holding);
	allocate(2, MIB);
	assert_int_equal(ledger_used(device), figure_bytes);
	assert_int_equal(expected(), 0);
}

static void first_context_beside_a_free_is_not_expected_to_take_less(void **state)
{
	(void)state;
	allocate(1, 60 * MIB);
	struct holding holding = begin_free(1);
	create(0, CONTEXT);
	ledger_give_back(&holding);
	allocate(2, MIB);
	assert_int_equal(ledger_used(device), figure_bytes);
	assert_int_equal(expected(), 0);
}

/* Nobody may take what is charged as other while it gets its name. */
static void name_moves_what_is_charged_as_other(void **state)
{
	struct reservation reservation;

	(void)state;
	driver_takes(30 * MIB + 4096);
	allocate(1, MIB);
	assert_int_equal(other(), 30 * MIB + 4096);
	uint64_t moment = ledger_moment(device);
	assert_true(ledger_reserve(device, LEDGER_CONTEXT, 0, &reservation));
	reconcile_name(device, 10 * MIB, &reservation);
	assert_int_equal(ledger_moment(device), moment);
	assert_int_equal(reservation.bytes, 10 * MIB);
	assert_int_equal(other(), 20 * MIB + 4096);
	assert_int_equal(ledger_used_for(device, LEDGER_CONTEXT), 10 * MIB);

	reconcile_name(device, 100 * MIB, &reservation);
	assert_int_equal(reservation.bytes, 30 * MIB + 4096);
	assert_int_equal(other(), 0);
	ledger_cancel(&reservation);
}

static void what_a_neighbour_gives_back_is_not_taken_for_ours(void **state)
{
	struct footprint footprint;
	uint64_t taken, given;

	(void)state;
	allocate(1, 60 * MIB);
	footprint_begin(device, 0, &footprint);
	neighbour_takes(-50 * (int64_t)MIB);
	footprint_lock(&footprint);
	assert_true(footprint_taken(&footprint, &taken));
	assert_true(footprint_given(&footprint, &given));
	footprint_done(&footprint);
	assert_int_equal(taken, 0);
	assert_int_equal(given, 0);

	footprint_begin(device, 0, &footprint);
	driver_takes(-10 * (int64_t)MIB);
	footprint_lock(&footprint);
	assert_true(footprint_given(&footprint, &given));
	footprint_done(&footprint);
	assert_int_equal(given, 10 * MIB);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(figure_is_read_when_the_quota_has_become_less, setup),
		cmocka_unit_test_setup(wish_for_a_reading_outlasts_those_who_hold, setup),
		cmocka_unit_test_setup(wish_for_a_reading_outlasts_one_that_tells_nothing, setup),
		cmocka_unit_test_setup(nothing_is_told_while_memory_is_being_freed, setup),
		cmocka_unit_test_setup(nothing_is_told_while_a_context_ends, setup),
		cmocka_unit_test_setup(leaving_ends_however_a_free_ends, setup),
		cmocka_unit_test_setup(
			unknown_context_beside_an_allocation_is_not_expected_to_take_less, setup),
		cmocka_unit_test_setup(
			unknown_context_beside_a_free_is_not_expected_to_take_less, setup),
		cmocka_unit_test_setup(
			first_context_beside_a_free_is_not_expected_to_take_less, setup),
		cmocka_unit_test_setup(name_moves_what_is_charged_as_other, setup),
		cmocka_unit_test_setup(what_a_neighbour_gives_back_is_not_taken_for_ours, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
