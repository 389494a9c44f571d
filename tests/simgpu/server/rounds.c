/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Rounds: as long as a kernel has blocks to place and is the first of those that may use its SMs,
 * each group of it that ends leaves room for just the same blocks again, so that after one block
 * time it stands as it does now. Groups of other kernels may run beside as long as none ends.
 */
#include "rounds.h"

const struct sm_set *domain_held(const struct domain *domain)
{
	bool is_at_limit = domain->sm_limit && domain->chosen_count == domain->sm_limit;
	return is_at_limit ? &domain->chosen : &domain->sms;
}

/* Whether no kernel that is served before that of `domain` may take its places. */
static bool is_first(const struct lane *lane, const struct domain *domain)
{
	const struct kernel *kernel = heap_top(&domain->waiting);
	for (const struct domain *other = lane->waiting; other; other = other->next) {
		const struct kernel *rival = heap_top(&other->waiting);
		if (other == domain || !domain->waiting.before(rival, kernel))
			continue;
		if (other->is_all || domain->is_all ||
			sm_set_meets(domain_held(other), domain_held(domain)))
			return false;
	}
	return true;
}

/* Marks the kernels that go round; those of all other groups do not. */
static void mark_steady(const struct lane *lane)
{
	for (size_t i = 0; i < lane->groups.count; i++) {
		const struct group *group = lane->groups.items[i];
		group->kernel->is_steady = false;
	}
	for (const struct domain *domain = lane->waiting; domain; domain = domain->next) {
		struct kernel *first = heap_top(&domain->waiting);
		first->is_steady = first->in_flight > 0 && first->unplaced >= first->in_flight &&
				   is_first(lane, domain);
	}
	/* Blocks that start now may take longer than those that run. */
	for (size_t i = 0; i < lane->groups.count; i++) {
		const struct group *group = lane->groups.items[i];
		if (group->kernel->is_steady &&
			group->block_ns != lane_block_ns(lane, group->kernel))
			group->kernel->is_steady = false;
	}
}

/* Up to when none of the kernels that go round runs out of blocks, and nothing else ends. */
static uint64_t horizon(const struct lane *lane, uint64_t limit_ns)
{
	for (size_t i = 0; i < lane->groups.count; i++) {
		const struct group *group = lane->groups.items[i];
		const struct kernel *kernel = group->kernel;
		uint64_t until_ns = group->end_ns;
		if (kernel->is_steady) {
			uint64_t rounds = kernel->unplaced / kernel->in_flight;
			if (__builtin_mul_overflow(rounds, group->block_ns, &until_ns) ||
				until_ns > FAR_NS)
				until_ns = FAR_NS;
			/* So that as many rounds end before it. */
			until_ns += lane->time_ns + 1;
		}
		if (until_ns < limit_ns)
			limit_ns = until_ns;
	}
	return limit_ns;
}

static uint64_t rounds_before(const struct lane *lane, const struct group *group, uint64_t until_ns)
{
	return until_ns > lane->time_ns ? (until_ns - lane->time_ns - 1) / group->block_ns : 0;
}

/* Whether there is a kernel that waits at all: most groups end before that is worth a look. */
static uint64_t find_horizon(const struct lane *lane, uint64_t limit_ns)
{
	if (!lane->waiting)
		return lane->time_ns;
	mark_steady(lane);
	return horizon(lane, limit_ns);
}

uint64_t rounds_end(const struct lane *lane, uint64_t limit_ns)
{
	uint64_t until_ns = find_horizon(lane, limit_ns), end_ns = NEVER_NS;
	if (until_ns <= lane->time_ns)
		return lane->time_ns;
	for (size_t i = 0; i < lane->groups.count; i++) {
		const struct group *group = lane->groups.items[i];
		if (!group->kernel->is_steady)
			continue;
		uint64_t group_ns = rounds_before(lane, group, until_ns) * group->block_ns;
		if (group_ns < end_ns)
			end_ns = group_ns;
	}
	return end_ns == NEVER_NS ? lane->time_ns : lane->time_ns + end_ns;
}

void rounds_skip(struct lane *lane, uint64_t limit_ns)
{
	uint64_t until_ns = find_horizon(lane, limit_ns);
	uint64_t end_ns = until_ns > lane->time_ns ? rounds_end(lane, limit_ns) : lane->time_ns;
	bool has_moved = false;
	if (until_ns <= lane->time_ns)
		return;
	for (size_t i = 0; i < lane->groups.count; i++) {
		struct group *group = lane->groups.items[i];
		if (!group->kernel->is_steady)
			continue;
		uint64_t rounds = rounds_before(lane, group, until_ns);
		group->end_ns += rounds * group->block_ns;
		group->kernel->unplaced -= rounds * group->blocks;
		has_moved = has_moved || rounds > 0;
	}
	if (has_moved)
		heap_rebuild(&lane->groups);
	lane->time_ns = end_ns;
}
