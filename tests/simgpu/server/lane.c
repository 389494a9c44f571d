/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Blocks of one process on the SMs of one device.
 */
#include "lane.h"

#include <assert.h>
#include <stdlib.h>

#include "alloc.h"

/* lcm(1..32): the part of an SM that a block takes is a whole number of units. */
#define SM_UNITS 144403552893600ull

/* Far enough to mean "no limit", near enough that a sum of two does not overflow. */
#define FAR_NS (UINT64_C(1) << 62)

/* Blocks of one kernel that started at the same time, so that they end at the same time. */
struct group {
	struct kernel *kernel;
	uint64_t blocks;
	uint64_t end_ns; /* lane time */
};

static bool kernel_before(const void *a, const void *b)
{
	const struct kernel *left = a, *right = b;
	if (left->priority != right->priority)
		return left->priority < right->priority;
	if (left->ready_ns != right->ready_ns)
		return left->ready_ns < right->ready_ns;
	return left->arrival < right->arrival;
}

static bool group_before(const void *a, const void *b)
{
	const struct group *left = a, *right = b;
	return left->end_ns < right->end_ns;
}

void lane_init(struct lane *lane, uint32_t sm_count)
{
	*lane = (struct lane){.free_units = sm_count * SM_UNITS};
	heap_init(&lane->waiting, kernel_before);
	heap_init(&lane->groups, group_before);
}

void lane_finish(struct lane *lane)
{
	for (size_t i = 0; i < lane->groups.count; i++)
		free(lane->groups.items[i]);
	heap_finish(&lane->groups);
	heap_finish(&lane->waiting);
}

void lane_add(struct lane *lane, struct kernel *kernel)
{
	assert(kernel->blocks && kernel->block_ns && kernel->block_fit);
	kernel->unplaced = kernel->blocks;
	kernel->in_flight = 0;
	kernel->has_started = false;
	heap_push(&lane->waiting, kernel);
}

static uint64_t block_units(const struct kernel *kernel)
{
	return SM_UNITS / kernel->block_fit;
}

struct removal {
	struct lane *lane;
	bool (*leaves)(const struct kernel *, void *);
	void *arg;
};

static bool kernel_leaves(void *item, void *arg)
{
	const struct removal *removal = arg;
	return removal->leaves(item, removal->arg);
}

static bool group_leaves(void *item, void *arg)
{
	const struct removal *removal = arg;
	struct group *group = item;
	if (!removal->leaves(group->kernel, removal->arg))
		return false;
	removal->lane->free_units += group->blocks * block_units(group->kernel);
	free(group);
	return true;
}

void lane_remove_if(struct lane *lane, bool (*leaves)(const struct kernel *, void *), void *arg)
{
	struct removal removal = {lane, leaves, arg};
	heap_remove_if(&lane->groups, group_leaves, &removal);
	heap_remove_if(&lane->waiting, kernel_leaves, &removal);
}

bool lane_is_runnable(const struct lane *lane)
{
	return lane->groups.count > 0 || lane->waiting.count > 0;
}

static void start_blocks(struct lane *lane, struct kernel *kernel, uint64_t blocks)
{
	struct group *group = alloc_zeroed(sizeof(*group));
	*group = (struct group){kernel, blocks, lane->time_ns + kernel->block_ns};
	heap_push(&lane->groups, group);
	lane->free_units -= blocks * block_units(kernel);
	kernel->unplaced -= blocks;
	kernel->in_flight += blocks;
	if (!kernel->has_started) {
		kernel->has_started = true;
		kernel->start_ns = lane->time_ns + lane->wall_ns;
	}
}

void lane_place(struct lane *lane)
{
	struct kernel *first;
	while ((first = heap_top(&lane->waiting))) {
		uint64_t places = lane->free_units / block_units(first);
		if (places == 0)
			return;
		start_blocks(lane, first, places < first->unplaced ? places : first->unplaced);
		if (first->unplaced == 0)
			heap_pop(&lane->waiting);
	}
}

/* How many whole rounds of the first kernel's blocks end before `limit_ns` with nothing else
 * happening: as long as it has blocks to place, each group that ends leaves room for just the same
 * number again, so that after one block time the lane looks as it does now. Blocks of other kernels
 * may run beside as long as none of them ends. */
static uint64_t whole_rounds(const struct lane *lane, uint64_t limit_ns)
{
	const struct kernel *first = heap_top(&lane->waiting);
	if (!first || first->in_flight == 0 || first->unplaced < first->in_flight)
		return 0;
	for (size_t i = 0; i < lane->groups.count; i++) {
		const struct group *group = lane->groups.items[i];
		if (group->kernel != first && group->end_ns < limit_ns)
			limit_ns = group->end_ns;
	}
	if (limit_ns <= lane->time_ns)
		return 0;
	uint64_t by_time = (limit_ns - lane->time_ns - 1) / first->block_ns;
	uint64_t by_blocks = first->unplaced / first->in_flight;
	return by_time < by_blocks ? by_time : by_blocks;
}

static void skip_rounds(struct lane *lane, uint64_t limit_ns)
{
	uint64_t rounds = whole_rounds(lane, limit_ns);
	if (rounds == 0)
		return;
	struct kernel *first = heap_top(&lane->waiting);
	for (size_t i = 0; i < lane->groups.count; i++) {
		struct group *group = lane->groups.items[i];
		if (group->kernel == first)
			group->end_ns += rounds * first->block_ns;
	}
	heap_rebuild(&lane->groups);
	first->unplaced -= rounds * first->in_flight;
	lane->time_ns += rounds * first->block_ns;
}

uint64_t lane_next(const struct lane *lane)
{
	const struct group *group = heap_top(&lane->groups);
	if (!group)
		return NEVER_NS;
	uint64_t rounds = whole_rounds(lane, FAR_NS);
	if (rounds == 0)
		return group->end_ns;
	const struct kernel *first = heap_top(&lane->waiting);
	return lane->time_ns + rounds * first->block_ns;
}

/* Ends the groups that are due at the lane's present time; returns the new tail of the list. */
static struct kernel **end_groups(struct lane *lane, struct kernel **tail)
{
	struct group *group;
	while ((group = heap_top(&lane->groups)) && group->end_ns == lane->time_ns) {
		struct kernel *kernel = group->kernel;
		heap_pop(&lane->groups);
		lane->free_units += group->blocks * block_units(kernel);
		kernel->in_flight -= group->blocks;
		free(group);
		if (kernel->in_flight == 0 && kernel->unplaced == 0) {
			kernel->end_ns = lane->time_ns + lane->wall_ns;
			lane->kernels++;
			*tail = kernel;
			tail = &kernel->next_ended;
		}
	}
	*tail = NULL;
	return tail;
}

struct kernel *lane_advance(struct lane *lane, uint64_t to_ns)
{
	struct kernel *ended = NULL, **tail = &ended;
	for (;;) {
		skip_rounds(lane, to_ns);
		const struct group *group = heap_top(&lane->groups);
		if (!group || group->end_ns > to_ns)
			break;
		lane->time_ns = group->end_ns;
		tail = end_groups(lane, tail);
		if (lane->time_ns < to_ns)
			lane_place(lane);
	}
	lane->time_ns = to_ns;
	return ended;
}
