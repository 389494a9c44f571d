/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The token between tenants, in virtual time, over a device that gives each process time slices.
 * The protocol is the real one; a tenant here is only what a process does with it: keeps so much on
 * the device, launches what it has credit for without asking, and bills what it lets go.
 */
#include "unit.h"
#include "base/clock.h"
#include "base/compiler.h"
#include "token/token_protocol.h"

#include <inttypes.h>
#include <string.h>

#define STEP_NS      (10 * NS_PER_US)
#define SLICE_NS     NS_PER_MS
#define IN_FLIGHT_NS NS_PER_MS
#define MAX_TENANTS  8
#define AT_EACH_NS   (50 * NS_PER_US)

struct tenant {
	/* What it is. */
	uint32_t guarantee_ppm, weight;
	enum token_class class;
	bool may_borrow, wants_own; /* borrows: what it wants is not its own */
	uint64_t group;
	uint64_t kernel_ns;
	uint64_t think_ns; /* after each kernel; 0: always has more */
	uint64_t begins_at_ns, pauses_at_ns;
	bool is_stopped;

	/* What it does. */
	struct token_seat seat;
	uint64_t wakes_at_ns, granted_ns, drained_at_ns, looked_at_ns;
	uint64_t on_device_ns, in_queue, ready_at_ns;
	/* What came of it. */
	uint64_t used_ns, wanted_at_ns, longest_wait_ns, last_used_ns;
};

static struct token_segment segment;
static struct tenant tenants[MAX_TENANTS];
static unsigned tenant_count, active;
static uint64_t now_ns, busy_ns, slice_left_ns;

static int setup(void **state)
{
	(void)state;
	memset(&segment, 0, sizeof(segment));
	memset(tenants, 0, sizeof(tenants));
	tenant_count = active = 0;
	now_ns = 1000 * NS_PER_S;
	busy_ns = slice_left_ns = 0;
	return 0;
}

/* A backlogged tenant with a guarantee, to be changed by the test before it begins. */
static struct tenant *add(uint32_t guarantee_percent, uint64_t kernel_ns)
{
	struct tenant *tenant = &tenants[tenant_count];

	*tenant = (struct tenant){
		.guarantee_ppm = guarantee_percent * 10000,
		.weight = 100,
		.group = tenant_count + 1,
		.kernel_ns = kernel_ns,
		.wants_own = true,
		.seat = {.segment = &segment, .slot = tenant_count, .quantum_ns = TOKEN_QUANTUM_NS},
	};
	tenant_count++;
	word_store(&segment.slots_used, tenant_count);
	return tenant;
}

static void enter_all(void)
{
	for (unsigned i = 0; i < tenant_count; i++) {
		struct token_entitlement entitlement = {tenants[i].guarantee_ppm, tenants[i].weight,
			tenants[i].class, tenants[i].may_borrow};
		token_enter(&tenants[i].seat, tenants[i].group, &entitlement);
	}
}

static struct token_slot *slot_of(struct tenant *tenant)
{
	return &segment.slots[tenant->seat.slot];
}

/* The launch itself. */
static void submit(struct tenant *tenant)
{
	uint64_t wait_ns = now_ns - tenant->wanted_at_ns;

	if (tenant->wanted_at_ns != 0 && wait_ns > tenant->longest_wait_ns)
		tenant->longest_wait_ns = wait_ns;
	tenant->wanted_at_ns = 0;
	tenant->on_device_ns += tenant->kernel_ns;
	if (tenant->think_ns > 0)
		tenant->ready_at_ns = UINT64_MAX;
}

static void spend(struct tenant *tenant, uint64_t since_ns, int64_t ns)
{
	token_bill(&tenant->seat, ns);
	if (tenant->drained_at_ns < since_ns)
		tenant->drained_at_ns = since_ns;
	tenant->drained_at_ns += (uint64_t)ns;
}

static void settle(struct tenant *tenant)
{
	int64_t left_ns = token_take_credit(&slot_of(tenant)->credit_ns);

	spend(tenant, tenant->looked_at_ns, (int64_t)tenant->granted_ns - left_ns);
	tenant->granted_ns = 0;
	tenant->looked_at_ns = now_ns;
	token_publish(&tenant->seat, 0, tenant->drained_at_ns, now_ns);
}

static void grant(struct tenant *tenant)
{
	uint64_t turn_ns = token_turn_ns(&tenant->seat, now_ns);
	uint64_t queued_ns = tenant->drained_at_ns > now_ns ? tenant->drained_at_ns - now_ns : 0;

	if (queued_ns >= IN_FLIGHT_NS || !token_is_held(&tenant->seat))
		return;
	tenant->granted_ns = IN_FLIGHT_NS - queued_ns;
	if (tenant->granted_ns > turn_ns)
		tenant->granted_ns = turn_ns;
	token_publish(&tenant->seat, tenant->granted_ns, tenant->drained_at_ns, now_ns);
	atomic_store(&slot_of(tenant)->credit_ns, (int64_t)tenant->granted_ns);
}

static void ring(unsigned slot)
{
	if (slot != TOKEN_NO_SLOT)
		tenants[slot].wakes_at_ns = now_ns + 50 * NS_PER_US;
}

static bool spends(struct tenant *tenant)
{
	int64_t left_ns = atomic_load(&slot_of(tenant)->credit_ns);

	if (left_ns < (int64_t)tenant->kernel_ns)
		return false;
	atomic_store(&slot_of(tenant)->credit_ns, left_ns - (int64_t)tenant->kernel_ns);
	submit(tenant);
	return true;
}

/* One launch by the slow way. False where it has to wait. */
static bool launches(struct tenant *tenant)
{
	enum token_want want = tenant->wants_own ? TOKEN_ENTITLED : TOKEN_BORROWING;
	uint64_t wait_ns = 0;
	unsigned rung;

	settle(tenant);
	uint64_t queued_ns = tenant->drained_at_ns > now_ns ? tenant->drained_at_ns - now_ns : 0;
	if (tenant->class != TOKEN_LATENCY && token_has_others(&tenant->seat)) {
		wait_ns = token_ask(&tenant->seat, want, tenant->kernel_ns, now_ns, &rung);
		ring(rung);
	}
	if (queued_ns > IN_FLIGHT_NS && queued_ns - IN_FLIGHT_NS > wait_ns)
		wait_ns = queued_ns - IN_FLIGHT_NS;
	if (wait_ns > 0) {
		assert_true(wait_ns >= 10 * NS_PER_US); /* nobody spins */
		if (wait_ns > TOKEN_FAR_NAP_NS)
			wait_ns = TOKEN_FAR_NAP_NS;
		tenant->wakes_at_ns = now_ns + wait_ns + 50 * NS_PER_US;
		return false;
	}
	/* It runs after what others have there. */
	uint64_t others_ns = token_others_drain_ns(&tenant->seat, now_ns);
	spend(tenant, others_ns > now_ns ? others_ns : now_ns, (int64_t)tenant->kernel_ns);
	token_publish(&tenant->seat, 0, tenant->drained_at_ns, now_ns);
	if (tenant->class != TOKEN_LATENCY)
		grant(tenant);
	token_rest(&tenant->seat, now_ns);
	submit(tenant);
	return true;
}

static bool has_launch(const struct tenant *tenant)
{
	return !tenant->is_stopped && now_ns >= tenant->begins_at_ns &&
	       (tenant->pauses_at_ns == 0 || now_ns < tenant->pauses_at_ns) &&
	       now_ns >= tenant->ready_at_ns;
}

static void run_tenant(struct tenant *tenant)
{
	while (has_launch(tenant)) {
		if (tenant->wanted_at_ns == 0)
			tenant->wanted_at_ns = now_ns;
		if (now_ns < tenant->wakes_at_ns || (!spends(tenant) && !launches(tenant)))
			return;
	}
	if (tenant->pauses_at_ns != 0 && now_ns >= tenant->pauses_at_ns)
		token_rest(&tenant->seat, now_ns);
}

/* One process has the device for a slice, or until it has nothing left. */
static void run_device(void)
{
	for (unsigned i = 0;
		i < tenant_count && (tenants[active].on_device_ns == 0 || slice_left_ns == 0);
		i++) {
		active = (active + 1) % tenant_count;
		slice_left_ns = SLICE_NS;
	}
	struct tenant *tenant = &tenants[active];
	if (tenant->on_device_ns == 0)
		return;
	tenant->on_device_ns -= STEP_NS;
	slice_left_ns -= STEP_NS;
	tenant->used_ns += STEP_NS;
	tenant->last_used_ns = now_ns;
	busy_ns += STEP_NS;
	if (tenant->on_device_ns == 0 && tenant->think_ns > 0)
		tenant->ready_at_ns = now_ns + tenant->think_ns;
}

static void run(uint64_t span_ns)
{
	for (uint64_t end_ns = now_ns + span_ns; now_ns < end_ns; now_ns += STEP_NS) {
		for (unsigned i = 0; i < tenant_count; i++)
			run_tenant(&tenants[i]);
		run_device();
	}
}

/* After a second in which they find their places. */
static void measure(uint64_t span_ns)
{
	enter_all();
	run(NS_PER_S);
	busy_ns = 0;
	for (unsigned i = 0; i < tenant_count; i++)
		tenants[i].used_ns = tenants[i].longest_wait_ns = 0;
	run(span_ns);
}

static void assert_share(
	const struct tenant *tenant, uint64_t span_ns, double percent, double within)
{
	double share = 100.0 * (double)tenant->used_ns / (double)span_ns;

	if (share < percent - within || share > percent + within)
		print_error("kernels of %" PRIu64 " ns, slot %u: used %.2f %%, not %.2f\n",
			tenant->kernel_ns, tenant->seat.slot, share, percent);
	assert_true(share >= percent - within && share <= percent + within);
}

static void backlogged_tenants_get_their_shares(void **state)
{
	static const uint32_t shares[][MAX_TENANTS] = {{50, 50}, {70, 30}, {90, 10},
		{40, 30, 20, 10}, {25, 25, 25, 25}, {99, 1}, {50, 20, 10, 5, 5, 5, 3, 2}};
	static const uint64_t kernels_ns[] = {
		20 * NS_PER_US, 100 * NS_PER_US, NS_PER_MS, 3 * NS_PER_MS};

	for (unsigned k = 0; k < ARRAY_LEN(kernels_ns); k++) {
		for (unsigned s = 0; s < ARRAY_LEN(shares); s++) {
			setup(state);
			for (unsigned i = 0; i < MAX_TENANTS && shares[s][i] > 0; i++)
				add(shares[s][i], kernels_ns[k]);
			measure(5 * NS_PER_S);
			for (unsigned i = 0; i < tenant_count; i++)
				assert_share(&tenants[i], 5 * NS_PER_S, shares[s][i], 0.5);
			assert_true(busy_ns >= 5 * NS_PER_S * 99 / 100);
		}
	}
}

static void long_kernels_beside_short_ones_get_half(void **state)
{
	(void)state;
	add(50, 200 * NS_PER_MS);
	add(50, 100 * NS_PER_US);
	measure(5 * NS_PER_S);
	assert_share(&tenants[0], 5 * NS_PER_S, 50, 3);
	assert_share(&tenants[1], 5 * NS_PER_S, 50, 3);
	assert_true(busy_ns >= 5 * NS_PER_S * 99 / 100);
}

static void guarantees_beyond_the_whole_are_scaled(void **state)
{
	(void)state;
	add(80, NS_PER_MS);
	add(80, NS_PER_MS);
	add(40, NS_PER_MS);
	measure(4 * NS_PER_S);
	assert_share(&tenants[0], 4 * NS_PER_S, 40, 1);
	assert_share(&tenants[1], 4 * NS_PER_S, 40, 1);
	assert_share(&tenants[2], 4 * NS_PER_S, 20, 1);
}

static void weights_divide_what_guarantees_leave(void **state)
{
	(void)state;
	add(40, NS_PER_MS);
	add(0, NS_PER_MS)->weight = 200;
	add(0, NS_PER_MS)->weight = 100;
	measure(4 * NS_PER_S);
	assert_share(&tenants[0], 4 * NS_PER_S, 40, 1);
	assert_share(&tenants[1], 4 * NS_PER_S, 40, 1);
	assert_share(&tenants[2], 4 * NS_PER_S, 20, 1);
}

static void processes_of_a_group_divide_its_guarantee(void **state)
{
	(void)state;
	add(50, NS_PER_MS)->group = 7;
	add(50, NS_PER_MS)->group = 7;
	add(50, NS_PER_MS);
	measure(4 * NS_PER_S);
	assert_share(&tenants[0], 4 * NS_PER_S, 25, 1);
	assert_share(&tenants[1], 4 * NS_PER_S, 25, 1);
	assert_share(&tenants[2], 4 * NS_PER_S, 50, 1);
}

/* Works 1 ms and thinks 9: alone it uses 10 % */
static void host_bound_tenant_keeps_what_it_uses_alone(void **state)
{
	(void)state;
	add(50, NS_PER_MS)->think_ns = 9 * NS_PER_MS;
	add(50, NS_PER_MS);
	measure(4 * NS_PER_S);
	/* Each of its kernels waits for what the other has on the device. */
	assert_share(&tenants[0], 4 * NS_PER_S, 9, 0.8);
	assert_true(tenants[0].longest_wait_ns <= 3 * NS_PER_MS);
	assert_true(busy_ns >= 4 * NS_PER_S * 97 / 100);
}

static void latency_tenant_waits_for_one_kernel_and_one_slice(void **state)
{
	(void)state;
	struct tenant *tenant = add(50, NS_PER_MS);
	tenant->think_ns = 9 * NS_PER_MS;
	tenant->class = TOKEN_LATENCY;
	add(50, NS_PER_MS);
	measure(4 * NS_PER_S);
	assert_int_equal(tenants[0].longest_wait_ns, 0);
	assert_share(&tenants[0], 4 * NS_PER_S, 9, 1);
	assert_true(busy_ns >= 4 * NS_PER_S * 97 / 100);
}

static void borrower_uses_what_is_idle_and_gives_it_back(void **state)
{
	(void)state;
	struct tenant *own = add(50, NS_PER_MS), *borrower = add(50, NS_PER_MS);
	borrower->may_borrow = true;
	borrower->wants_own = false; /* all its own it has had */
	own->pauses_at_ns = now_ns + NS_PER_S;
	enter_all();
	run(NS_PER_S);
	assert_share(own, NS_PER_S, 100, 1);
	borrower->used_ns = 0;
	run(NS_PER_S);
	assert_share(borrower, NS_PER_S, 100, 1);

	own->pauses_at_ns = 0;
	own->begins_at_ns = now_ns;
	own->used_ns = 0;
	run(10 * NS_PER_MS);
	assert_true(own->used_ns >= 7 * NS_PER_MS);
	run(NS_PER_S);
	assert_share(own, NS_PER_S, 101, 1);
}

/* Who comes later is not owed the time before. */
static void newcomer_gets_its_share_and_no_more(void **state)
{
	(void)state;
	add(50, NS_PER_MS);
	struct tenant *newcomer = add(50, NS_PER_MS);
	newcomer->begins_at_ns = now_ns + 3 * NS_PER_S;
	enter_all();
	run(3 * NS_PER_S);
	tenants[0].used_ns = 0;
	run(NS_PER_S);
	assert_share(&tenants[0], NS_PER_S, 50, 2);
	assert_share(newcomer, NS_PER_S, 50, 2);
}

/* Time until somebody else's work runs again after tenant 0 has stopped, at whatever moment. */
static void anybody_may_stop_at_any_moment(void **state)
{
	for (uint64_t at_ns = 0; at_ns < 40 * NS_PER_MS; at_ns += 130 * NS_PER_US) {
		setup(state);
		add(50, NS_PER_MS / 2);
		add(30, NS_PER_MS / 2);
		add(20, NS_PER_MS / 2);
		enter_all();
		run(50 * NS_PER_MS + at_ns);
		tenants[0].is_stopped = true;
		uint64_t used_ns = tenants[1].used_ns + tenants[2].used_ns;
		run(20 * NS_PER_MS);
		assert_true(tenants[1].used_ns + tenants[2].used_ns >= used_ns + 4 * NS_PER_MS);
		used_ns = tenants[1].used_ns + tenants[2].used_ns;
		run(100 * NS_PER_MS);
		assert_true(tenants[1].used_ns + tenants[2].used_ns >= used_ns + 98 * NS_PER_MS);
		/* and goes on as one of three. */
		tenants[0].is_stopped = false;
		run(50 * NS_PER_MS);
		tenants[0].used_ns = 0;
		run(500 * NS_PER_MS);
		assert_share(&tenants[0], 500 * NS_PER_MS, 50, 4);
	}
}

enum end { DIES, STOPS, HANGS };

/* What it has on the device by then, beyond its credit, and whether it knew how long that takes. */
struct left {
	uint64_t work_ns;
	bool is_known;
};

static void end_tenant(struct tenant *tenant, enum end end, struct left left)
{
	tenant->is_stopped = true;
	tenant->on_device_ns += left.work_ns;
	if (left.is_known)
		spend(tenant, now_ns, (int64_t)left.work_ns);
	token_publish(&tenant->seat, tenant->granted_ns, tenant->drained_at_ns, now_ns);
	if (end == HANGS)
		tenant->on_device_ns += 5 * NS_PER_S;
	/* The driver ends the work of the dead. */
	if (end == DIES)
		tenant->on_device_ns = 0;
}

/* How long after that until another uses the device, while the dead are cleared every 10 ms. */
static uint64_t others_run_after_ns(enum end end, struct left left)
{
	uint64_t used_ns = 0, ended_at_ns = now_ns;

	end_tenant(&tenants[0], end, left);
	for (unsigned i = 1; i < tenant_count; i++)
		used_ns += tenants[i].used_ns;
	for (uint64_t now_used_ns = used_ns; now_used_ns < used_ns + NS_PER_MS;) {
		run(STEP_NS);
		if (end == DIES && now_ns - ended_at_ns == 10 * NS_PER_MS)
			token_clear(&segment, tenants[0].seat.slot);
		now_used_ns = 0;
		for (unsigned i = 1; i < tenant_count; i++)
			now_used_ns += tenants[i].used_ns;
		assert_true(now_ns < ended_at_ns + 10 * NS_PER_S);
	}
	return now_ns - ended_at_ns;
}

/* A millisecond of work of others has been done by the limits, at whatever step it ends: 20 ms
 * after a death and 100 ms after a stop or a hang, and after what others were told is on the
 * device. */
static void others_run_on_whenever_one_ends(void **state)
{
	static const struct left lefts[] = {{0, false}, {2 * NS_PER_MS, true},
		{2 * NS_PER_MS, false}, {200 * NS_PER_MS, true}, {200 * NS_PER_MS, false}};
	static const uint64_t limits_ns[] = {
		[DIES] = 20 * NS_PER_MS, [STOPS] = 100 * NS_PER_MS, [HANGS] = 100 * NS_PER_MS};

	for (uint64_t at_ns = 0; at_ns < 20 * NS_PER_MS; at_ns += AT_EACH_NS) {
		for (unsigned i = 0; i < 3 * ARRAY_LEN(lefts); i++) {
			enum end end = i % 3;
			struct left left = lefts[i / 3];
			setup(state);
			add(50, NS_PER_MS / 2);
			add(30, NS_PER_MS / 2);
			add(20, NS_PER_MS / 2);
			enter_all();
			run(30 * NS_PER_MS + at_ns);
			uint64_t told_ns = end != DIES && left.is_known ? left.work_ns : 0;
			assert_in_range(
				others_run_after_ns(end, left), 0, limits_ns[end] + told_ns);
		}
	}
}

static void stopped_between_two_launches_loses_its_credit(void **state)
{
	(void)state;
	struct tenant *first = add(50, 100 * NS_PER_US);
	add(50, 100 * NS_PER_US)->begins_at_ns = now_ns + 10 * NS_PER_MS;
	first->pauses_at_ns = now_ns + 10 * NS_PER_MS;
	enter_all();
	run(9500 * NS_PER_US);
	atomic_store(&slot_of(first)->credit_ns, 500000);
	first->is_stopped = true;
	run(5 * NS_PER_MS);

	assert_true(tenants[1].used_ns > 2 * NS_PER_MS);
	assert_true(atomic_load(&slot_of(first)->credit_ns) < 0);
	assert_int_equal(token_take_credit(&slot_of(first)->credit_ns), 500000);
	assert_int_equal(token_take_credit(&slot_of(first)->credit_ns), 0);
}

/* Whatever stands in a neighbour's slot or the words of all: we go on in the end. */
static void damage_delays_and_does_not_hang(void **state)
{
	uint64_t random = 7;

	for (unsigned i = 0; i < 60; i++) {
		setup(state);
		struct tenant *good = add(50, NS_PER_MS);
		add(50, NS_PER_MS)->is_stopped = true;
		enter_all();
		run(10 * NS_PER_MS);
		segment_word *words = (segment_word *)&segment.slots[1];
		for (unsigned w = 0; w < sizeof(segment.slots[1]) / sizeof(*words); w++)
			word_store(&words[w], random_next(&random) >> random_next(&random) % 64);
		word_store(&segment.holder, random_next(&random) >> random_next(&random) % 64);
		word_store(&segment.slots_used, 2 + random_next(&random) % 3 * 1000000);
		word_store(&segment.newest_v, random_next(&random));
		good->used_ns = 0;
		run(TOKEN_PATIENCE_NS + 100 * NS_PER_MS);
		assert_true(good->used_ns > 0);
	}
}

/* By one that has gone, and stands in the holder word and in no slot. */
static void token_of_nobody_is_taken(void **state)
{
	(void)state;
	struct tenant *good = add(50, NS_PER_MS);
	add(50, NS_PER_MS)->is_stopped = true;
	enter_all();
	word_store(&segment.slots[200].wants, 7);
	word_store(&segment.slots[200].seen_at_ns, now_ns + 3600 * NS_PER_S);
	word_store(&segment.slots[200].drained_at_ns, now_ns + 3600 * NS_PER_S);
	word_store(&segment.holder, 201);
	run(20 * NS_PER_MS);
	assert_true(good->used_ns >= 10 * NS_PER_MS);
}

/* One says that its work never ends, and dies. What the others put behind that must not outlive it.
 */
static void claim_does_not_outlive_who_made_it(void **state)
{
	(void)state;
	add(50, NS_PER_MS);
	add(50, NS_PER_MS);
	struct tenant *liar = add(50, NS_PER_MS);
	liar->is_stopped = true;
	enter_all();
	word_store(&slot_of(liar)->drained_at_ns, now_ns + 7000 * NS_PER_S);
	run(TOKEN_PATIENCE_NS + 100 * NS_PER_MS);
	assert_true(tenants[0].used_ns + tenants[1].used_ns > 0);
	token_clear(&segment, liar->seat.slot);
	run(15 * NS_PER_S);
	tenants[0].used_ns = tenants[1].used_ns = 0;
	run(NS_PER_S);
	assert_share(&tenants[0], NS_PER_S, 50, 2);
	assert_share(&tenants[1], NS_PER_S, 50, 2);
}

/* Its clock is a day ahead, or behind: then nobody knows when its work ends, nor waits for that. */
static void one_with_another_clock_holds_up_nobody(void **state)
{
	static const int64_t ahead_ns[] = {24 * 3600 * (int64_t)NS_PER_S, -600 * (int64_t)NS_PER_S};

	for (unsigned i = 0; i < ARRAY_LEN(ahead_ns); i++) {
		setup(state);
		struct tenant *good = add(50, NS_PER_MS), *other = add(50, NS_PER_MS);
		other->is_stopped = true;
		enter_all();
		uint64_t there_ns = now_ns + (uint64_t)ahead_ns[i];
		word_store(&slot_of(other)->drained_at_ns, there_ns);
		word_store(&slot_of(other)->seen_at_ns, there_ns);
		word_store(&slot_of(other)->wants, TOKEN_ENTITLED);
		run(NS_PER_S);
		assert_share(good, NS_PER_S, 100, 1);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(backlogged_tenants_get_their_shares, setup),
		cmocka_unit_test_setup(long_kernels_beside_short_ones_get_half, setup),
		cmocka_unit_test_setup(guarantees_beyond_the_whole_are_scaled, setup),
		cmocka_unit_test_setup(weights_divide_what_guarantees_leave, setup),
		cmocka_unit_test_setup(processes_of_a_group_divide_its_guarantee, setup),
		cmocka_unit_test_setup(host_bound_tenant_keeps_what_it_uses_alone, setup),
		cmocka_unit_test_setup(latency_tenant_waits_for_one_kernel_and_one_slice, setup),
		cmocka_unit_test_setup(borrower_uses_what_is_idle_and_gives_it_back, setup),
		cmocka_unit_test_setup(newcomer_gets_its_share_and_no_more, setup),
		cmocka_unit_test_setup(anybody_may_stop_at_any_moment, setup),
		cmocka_unit_test_setup(others_run_on_whenever_one_ends, setup),
		cmocka_unit_test_setup(stopped_between_two_launches_loses_its_credit, setup),
		cmocka_unit_test_setup(damage_delays_and_does_not_hang, setup),
		cmocka_unit_test_setup(token_of_nobody_is_taken, setup),
		cmocka_unit_test_setup(claim_does_not_outlive_who_made_it, setup),
		cmocka_unit_test_setup(one_with_another_clock_holds_up_nobody, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
