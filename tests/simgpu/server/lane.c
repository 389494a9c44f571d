/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Blocks of kernels on the SMs of one device.
 */
#include "lane.h"

#include <assert.h>
#include <stdlib.h>

#include "alloc.h"
#include "rounds.h"

#define PPM UINT64_C(1000000)

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

void domain_init(
	struct domain *domain, uint32_t sm_count, const struct sm_set *sms, uint32_t sm_limit)
{
	*domain = (struct domain){.is_all = !sms && !sm_limit, .sm_limit = sm_limit};
	if (sms)
		domain->sms = *sms;
	else
		sm_set_add_range(&domain->sms, 0, sm_count);
	heap_init(&domain->waiting, kernel_before);
}

void domain_finish(struct domain *domain)
{
	heap_finish(&domain->waiting);
}

void lane_init(struct lane *lane, uint32_t sm_count)
{
	*lane = (struct lane){0};
	places_init(&lane->places, sm_count);
	domain_init(&lane->all, sm_count, NULL, 0);
	heap_init(&lane->groups, group_before);
}

void lane_finish(struct lane *lane)
{
	for (size_t i = 0; i < lane->groups.count; i++)
		free(lane->groups.items[i]);
	heap_finish(&lane->groups);
	domain_finish(&lane->all);
	places_finish(&lane->places);
}

static void list(struct lane *lane, struct domain *domain)
{
	if (domain->is_listed)
		return;
	domain->is_listed = true;
	domain->next = lane->waiting;
	lane->waiting = domain;
}

static void unlist_empty(struct lane *lane)
{
	struct domain **link = &lane->waiting;
	while (*link) {
		struct domain *domain = *link;
		if (domain->waiting.count > 0) {
			link = &domain->next;
			continue;
		}
		*link = domain->next;
		domain->is_listed = false;
	}
}

void lane_add(struct lane *lane, struct kernel *kernel)
{
	assert(kernel->blocks && kernel->block_ns && kernel->block_fit);
	kernel->unplaced = kernel->blocks;
	kernel->in_flight = 0;
	kernel->has_started = false;
	heap_push(&kernel->domain->waiting, kernel);
	list(lane, kernel->domain);
}

static lane_demand demand_of(const struct kernel *kernel, uint64_t blocks)
{
	return (lane_demand)blocks * (SM_UNITS / kernel->block_fit) * kernel->bandwidth_ppm;
}

uint64_t lane_block_ns(const struct lane *lane, const struct kernel *kernel)
{
	const lane_demand all = (lane_demand)lane->places.sm_count * SM_UNITS * PPM;
	lane_demand product;
	if (kernel->bandwidth_ppm == 0 || lane->demand <= all)
		return kernel->block_ns;
	if (__builtin_mul_overflow(lane->demand, (lane_demand)kernel->block_ns, &product))
		return FAR_NS;
	product = (product + all - 1) / all;
	return product < FAR_NS ? (uint64_t)product : FAR_NS;
}

static void count_start(struct lane *lane, struct kernel *kernel, uint64_t blocks)
{
	struct lane_user *user = kernel->user;
	if (user->in_flight == 0)
		user->busy_since_ns = lane->time_ns;
	user->in_flight += blocks;
	kernel->domain->in_flight += blocks;
	kernel->in_flight += blocks;
	lane->demand += demand_of(kernel, blocks);
}

static void count_end(struct lane *lane, struct kernel *kernel, uint64_t blocks)
{
	struct lane_user *user = kernel->user;
	struct domain *domain = kernel->domain;
	user->in_flight -= blocks;
	if (user->in_flight == 0)
		user->busy_ns += lane->time_ns - user->busy_since_ns;
	domain->in_flight -= blocks;
	if (domain->in_flight == 0 && domain->chosen_count > 0 && domain->waiting.count == 0) {
		domain->chosen = (struct sm_set){0};
		domain->chosen_count = 0;
	}
	kernel->in_flight -= blocks;
	lane->demand -= demand_of(kernel, blocks);
}

uint64_t lane_user_time(const struct lane *lane, const struct lane_user *user)
{
	return user->busy_ns + (user->in_flight ? lane->time_ns - user->busy_since_ns : 0);
}

static void end_group(struct lane *lane, struct group *group)
{
	places_give_back(
		&lane->places, group->places, group->place_count, group->kernel->block_fit);
	count_end(lane, group->kernel, group->blocks);
	free(group);
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
	end_group(removal->lane, group);
	return true;
}

void lane_remove_if(struct lane *lane, bool (*leaves)(const struct kernel *, void *), void *arg)
{
	struct removal removal = {lane, leaves, arg};
	heap_remove_if(&lane->groups, group_leaves, &removal);
	for (struct domain *domain = lane->waiting; domain; domain = domain->next)
		heap_remove_if(&domain->waiting, kernel_leaves, &removal);
	unlist_empty(lane);
}

bool lane_is_runnable(const struct lane *lane)
{
	return lane->groups.count > 0 || lane->waiting;
}

static void note_sms(struct kernel *kernel, const struct group *group)
{
	struct domain *domain = kernel->domain;
	for (uint32_t i = 0; i < group->place_count; i++) {
		uint32_t sm = group->places[i].sm;
		sm_set_add(&kernel->user->ran_on, sm);
		if (kernel->ran_on)
			sm_set_add(kernel->ran_on, sm);
		if (domain->sm_limit && !sm_set_has(&domain->chosen, sm)) {
			sm_set_add(&domain->chosen, sm);
			domain->chosen_count++;
		}
	}
}

/* Starts blocks in the places that were taken last, `count` entries. */
static void start_group(struct lane *lane, struct kernel *kernel, uint32_t count)
{
	const struct place *places = lane->places.result;
	struct group *group = alloc_zeroed(sizeof(*group) + count * sizeof(*places));
	group->kernel = kernel;
	group->place_count = count;
	memcpy(group->places, places, count * sizeof(*places));
	for (uint32_t i = 0; i < count; i++)
		group->blocks += places[i].blocks;
	count_start(lane, kernel, group->blocks);
	group->block_ns = lane_block_ns(lane, kernel);
	group->end_ns = lane->time_ns + group->block_ns;
	heap_push(&lane->groups, group);
	kernel->unplaced -= group->blocks;
	note_sms(kernel, group);
	if (!kernel->has_started) {
		kernel->has_started = true;
		kernel->start_ns = lane->time_ns + lane->wall_ns;
	}
}

/* Starts as many blocks of the domain's first kernel as there is room for; true if that is all. */
static bool place_first(struct lane *lane, struct domain *domain, const struct sm_set *but_not)
{
	struct kernel *kernel = heap_top(&domain->waiting);
	const struct places_wish wish = {
		.blocks = kernel->unplaced,
		.fit = kernel->block_fit,
		.of = domain->is_all ? NULL : &domain->sms,
		.but_not = but_not,
		.chosen = domain->sm_limit ? &domain->chosen : NULL,
		.may_choose = domain->sm_limit - domain->chosen_count,
	};
	uint32_t count = places_take(&lane->places, &wish);
	if (count > 0)
		start_group(lane, kernel, count);
	if (kernel->unplaced > 0)
		return false;
	heap_pop(&domain->waiting);
	return true;
}

/* Of the domains that are not stuck the one whose first kernel is served first, or NULL. */
static struct domain *first_domain(const struct lane *lane)
{
	struct domain *first = NULL;
	for (struct domain *domain = lane->waiting; domain; domain = domain->next) {
		if (domain->is_stuck || domain->waiting.count == 0)
			continue;
		if (!first || kernel_before(heap_top(&domain->waiting), heap_top(&first->waiting)))
			first = domain;
	}
	return first;
}

static void place_in_domains(struct lane *lane)
{
	struct sm_set held = {0};
	struct domain *domain;
	for (domain = lane->waiting; domain; domain = domain->next)
		domain->is_stuck = false;
	while ((domain = first_domain(lane))) {
		if (place_first(lane, domain, &held))
			continue;
		domain->is_stuck = true;
		sm_set_add_all(&held, domain_held(domain));
	}
}

void lane_place(struct lane *lane)
{
	if (!lane->waiting)
		return;
	if (lane->waiting->next) {
		place_in_domains(lane);
	} else {
		while (lane->waiting->waiting.count > 0 && place_first(lane, lane->waiting, NULL))
			;
	}
	unlist_empty(lane);
}

uint64_t lane_next(const struct lane *lane)
{
	const struct group *group = heap_top(&lane->groups);
	if (!group)
		return NEVER_NS;
	uint64_t end_ns = rounds_end(lane, FAR_NS);
	return end_ns > lane->time_ns ? end_ns : group->end_ns;
}

/* Ends the groups that are due at the lane's present time; returns the new tail of the list. */
static struct kernel **end_groups(struct lane *lane, struct kernel **tail)
{
	struct group *group;
	while ((group = heap_top(&lane->groups)) && group->end_ns == lane->time_ns) {
		struct kernel *kernel = group->kernel;
		heap_pop(&lane->groups);
		end_group(lane, group);
		if (kernel->in_flight == 0 && kernel->unplaced == 0) {
			kernel->end_ns = lane->time_ns + lane->wall_ns;
			kernel->user->kernels++;
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
		rounds_skip(lane, to_ns);
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
