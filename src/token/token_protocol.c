/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Fairness. Each slot has a v: the GPU time that its process used, over the rate it is entitled to.
 * Who has the least goes next, and keeps the token until its v is a span beyond that of the best
 * who waits. Shares are kept by this however long commands are: who has used too much waits until
 * the others have caught up. Who comes back from a pause has no more than a span of old claims.
 *
 * Why nothing hangs. There is no lock here, only the holder word, changed by compare-and-swap. A
 * holder that leaves no sign of life, or is idle, is replaced by a waiter as soon as what it has on
 * the device should have ended; its credit is revoked, so that its next launch asks again. One that
 * goes on forever without passing the token, or claims that its work never ends, delays others by
 * TOKEN_PATIENCE_NS each time: then they go on without the token.
 */
#include "token/token_protocol.h"
#include "token/token_gaps.h"
#include "token/token_slots.h"

/* What a revoked credit is less by. */
#define REVOKED_NS ((int64_t)1 << 62)
/* Nobody is granted more credit, nor has more on the device at a time than anybody waits for. */
#define CREDIT_MOST_NS 10000000
/* Who says that its work ends later than this has another clock: it lives in another time
 * namespace, or was moved here. */
#define OTHER_CLOCK_NS UINT64_C(7200000000000)
/* What others say is passed on no further than this: each puts its own behind it, so that it would
 * outlive who said it. */
#define DRAIN_MOST_NS UINT64_C(10000000000)
/* Who has wanted nothing and had nothing on the device for so long was idle. */
#define PAUSE_NS 5000000u
/* In terms of v. */
#define CLAIM_MOST_NS UINT64_C(4000000000)
/* A turn is no shorter, in GPU time. */
#define TURN_LEAST_NS 1000000u
/* How soon to look again at a holder that may be about to become idle, and at one that has passed
 * over its time. */
#define LOOK_AGAIN_NS 50000u
/* The same at one that leaves gaps and is about to launch. */
#define GAP_AGAIN_NS 250000u

/* So many who wait look again every TOKEN_NAP_NS, the others every TOKEN_FAR_NAP_NS. */
#define NEAR 8u

#define HOLDER_BITS 16
#define HOLDER_MASK ((1u << HOLDER_BITS) - 1)

uint64_t token_pack(const struct token_entitlement *entitlement)
{
	return (uint64_t)entitlement->guarantee_ppm | (uint64_t)entitlement->weight << 32 |
	       (uint64_t)(entitlement->class == TOKEN_LATENCY) << 56 |
	       (uint64_t)entitlement->may_borrow << 57;
}

struct token_entitlement token_unpack(uint64_t word)
{
	uint32_t guarantee_ppm = (uint32_t)word, weight = (uint32_t)(word >> 32) & 0xffffff;

	return (struct token_entitlement){
		.guarantee_ppm = guarantee_ppm <= PPM_WHOLE ? guarantee_ppm : PPM_WHOLE,
		.weight = weight < 1       ? 1
			  : weight > 10000 ? 10000
					   : weight,
		.class = (word >> 56 & 1) != 0 ? TOKEN_LATENCY : TOKEN_BATCH,
		.may_borrow = (word >> 57 & 1) != 0,
	};
}

/* The slot that holds the token, or TOKEN_NO_SLOT. */
static unsigned slot_of(uint64_t holder)
{
	uint64_t slot = (holder & HOLDER_MASK) - 1;

	return slot < TOKEN_SLOTS ? (unsigned)slot : TOKEN_NO_SLOT;
}

static bool swap_holder(struct token_segment *segment, uint64_t seen, unsigned slot)
{
	uint64_t next = ((seen >> HOLDER_BITS) + 1) << HOLDER_BITS;

	return word_swap(&segment->holder, seen, next | (slot == TOKEN_NO_SLOT ? 0 : slot + 1));
}

/* Asks often enough that it can be expected to take the token. A time that lies ahead says nothing,
 * but for what the clocks of two processors may differ. */
static bool is_awake(const struct token_slot *slot, uint64_t now_ns)
{
	uint64_t seen_at_ns = word_load(&slot->seen_at_ns);

	return now_ns - seen_at_ns < TOKEN_STALE_NS || seen_at_ns - now_ns < TOKEN_STALE_NS;
}

/* After the words have been written: who dies before leaves a slot that is cleared. */
static void note_change(struct token_segment *segment)
{
	atomic_fetch_add(&segment->changes, 1);
}

void token_enter(
	struct token_seat *seat, uint64_t group, const struct token_entitlement *entitlement)
{
	struct token_slot *slot = own(seat);

	word_store(&slot->entitlement, token_pack(entitlement));
	word_store(&slot->group, group);
	note_change(seat->segment);
}

void token_change(struct token_seat *seat, const struct token_entitlement *entitlement)
{
	struct token_slot *slot = own(seat);
	uint64_t word = token_pack(entitlement);

	/* All others have read the line: it is not written without need. */
	if (word_load(&slot->entitlement) == word)
		return;
	word_store(&slot->entitlement, word);
	note_change(seat->segment);
}

void token_clear(struct token_segment *segment, unsigned index)
{
	struct token_slot *slot = &segment->slots[index];
	uint64_t holder = word_load(&segment->holder);

	word_store(&slot->group, 0);
	word_store(&slot->wants, TOKEN_IDLE);
	word_store(&slot->granted_ns, 0);
	atomic_store(&slot->credit_ns, 0);
	word_store(&slot->drained_at_ns, 0);
	word_store(&slot->seen_at_ns, 0);
	word_store(&slot->entitlement, 0);
	word_store(&slot->v, 0);
	word_store(&slot->back_at_ns, 0);
	word_store(&slot->gap_ns, 0);
	note_change(segment);
	if (slot_of(holder) == index)
		(void)swap_holder(segment, holder, TOKEN_NO_SLOT);
}

bool token_expects_back(const struct token_seat *seat, uint64_t now_ns)
{
	const struct token_segment *segment = seat->segment;

	if (!gaps_is_anybody_back(segment, now_ns))
		return false;
	for (unsigned i = 0, used = slots_used(segment); i < used; i++) {
		const struct token_slot *slot = &segment->slots[i];
		if (i != seat->slot && is_tenant(slot) &&
			gaps_goes_before(seat, slot, own(seat), now_ns))
			return true;
	}
	return false;
}

/* GPU time in terms of v, for a process of that rate. */
static uint64_t v_for(uint64_t used_ns, uint32_t rate_ppm)
{
	unsigned __int128 v = (unsigned __int128)used_ns * PPM_WHOLE / rate_ppm;

	return v < V_MOST ? (uint64_t)v : V_MOST;
}

void token_bill(struct token_seat *seat, int64_t used_ns)
{
	struct token_slot *slot = own(seat);
	uint64_t v = v_of(slot);
	uint64_t span = v_for((uint64_t)(used_ns < 0 ? -used_ns : used_ns), token_rate_ppm(seat));

	v = used_ns < 0 ? v - lesser(span, v) : lesser(v + span, V_MOST);
	word_store(&slot->v, v);
	word_store(&slot->used_ns, word_load(&slot->used_ns) + (uint64_t)used_ns);
	uint64_t newest = word_load(&seat->segment->newest_v);
	while (newest < v && !word_swap(&seat->segment->newest_v, newest, v))
		newest = word_load(&seat->segment->newest_v);
}

/* Whether the process has long had nothing on the device, and wanted nothing. One that wants asks
 * again within TOKEN_FAR_NAP_NS, or it was stopped. */
static void note_pause(struct token_seat *seat, uint64_t now_ns)
{
	const struct token_slot *slot = own(seat);
	uint64_t since_ns = greater(seat->wanted_at_ns, word_load(&slot->drained_at_ns));
	uint64_t pause_ns = word_load(&slot->wants) == TOKEN_IDLE ? PAUSE_NS : TOKEN_STALE_NS;

	if (now_ns > since_ns + pause_ns)
		seat->has_paused = true;
}

/* One that was stopped may have let a launch go before anybody looks at what it claims. What has
 * ended was on the device until then, however early that was predicted; but who just comes had
 * nothing there. */
void token_publish(
	struct token_seat *seat, uint64_t granted_ns, uint64_t drained_at_ns, uint64_t now_ns)
{
	struct token_slot *slot = own(seat);

	if (drained_at_ns <= now_ns && word_load(&slot->drained_at_ns) != 0)
		word_store(&slot->drained_at_ns, drained_at_ns);
	note_pause(seat, now_ns);
	word_store(&slot->drained_at_ns, drained_at_ns);
	word_store(&slot->granted_ns, granted_ns);
}

int64_t token_take_credit(_Atomic int64_t *credit_ns)
{
	int64_t left_ns = atomic_exchange_explicit(credit_ns, 0, memory_order_relaxed);

	return left_ns < -REVOKED_NS / 2 ? left_ns + REVOKED_NS : left_ns;
}

/* Of the credit it was given. */
static int64_t spent_of(const struct token_slot *slot)
{
	int64_t left_ns = atomic_load_explicit(&slot->credit_ns, memory_order_relaxed);
	uint64_t granted_ns = lesser(word_load(&slot->granted_ns), CREDIT_MOST_NS);

	if (left_ns < -REVOKED_NS / 2)
		left_ns += REVOKED_NS;
	if (left_ns < 0)
		left_ns = 0;
	return left_ns < (int64_t)granted_ns ? (int64_t)granted_ns - left_ns : 0;
}

static uint64_t drained_at(const struct token_slot *slot, uint64_t now_ns)
{
	uint64_t drained_at_ns = word_load(&slot->drained_at_ns);

	return drained_at_ns < now_ns + OTHER_CLOCK_NS ? drained_at_ns : 0;
}

/* Looks at the holder. What it spends without asking is seen by its credit alone: it was let go
 * when that is first noticed at the latest. */
static void look(struct token_seat *seat, uint64_t holder, uint64_t now_ns)
{
	const struct token_slot *slot = &seat->segment->slots[slot_of(holder)];
	struct token_eye *eye = &seat->eye;
	struct token_eye seen = {
		.holder = holder,
		.drained_at_ns = drained_at(slot, now_ns),
		.granted_ns = word_load(&slot->granted_ns),
		.spent_ns = spent_of(slot),
		.wants = word_load(&slot->wants),
		.used_ns = word_load(&slot->used_ns),
		.drain_ns = eye->drain_ns,
		.changed_at_ns = now_ns,
	};
	bool is_same = seen.holder == eye->holder && seen.drained_at_ns == eye->drained_at_ns &&
		       seen.granted_ns == eye->granted_ns && seen.used_ns == eye->used_ns;
	int64_t more_ns = is_same ? seen.spent_ns - eye->spent_ns : seen.spent_ns;

	if (is_same && more_ns == 0 && seen.wants == eye->wants)
		return;
	if (!is_same)
		seen.drain_ns = seen.drained_at_ns;
	if (more_ns > 0)
		seen.drain_ns = greater(seen.drain_ns, now_ns) + (uint64_t)more_ns;
	*eye = seen;
}

static uint64_t drain_of(struct token_seat *seat, unsigned index, uint64_t holder, uint64_t now_ns)
{
	const struct token_slot *slot = &seat->segment->slots[index];

	if (index == slot_of(holder)) {
		look(seat, holder, now_ns);
		return seat->eye.drain_ns;
	}
	return drained_at(slot, now_ns) + (uint64_t)spent_of(slot);
}

uint64_t token_others_drain_ns(struct token_seat *seat, uint64_t now_ns)
{
	uint64_t holder = word_load(&seat->segment->holder), last_ns = 0;

	for (unsigned i = 0, used = slots_used(seat->segment); i < used; i++) {
		if (i != seat->slot && is_tenant(&seat->segment->slots[i]))
			last_ns = greater(last_ns, drain_of(seat, i, holder, now_ns));
	}
	return lesser(last_ns, now_ns + DRAIN_MOST_NS);
}

uint64_t token_others_used_ns(const struct token_seat *seat)
{
	uint64_t used_ns = 0;

	for (unsigned i = 0; i < slots_used(seat->segment); i++) {
		const struct token_slot *slot = &seat->segment->slots[i];
		if (i != seat->slot)
			used_ns += word_load(&slot->used_ns) + (uint64_t)spent_of(slot);
	}
	return used_ns;
}

/* Who waits for the token, but for one slot. */
struct queue {
	unsigned best, count; /* who should have it next, and how many they are */
	unsigned ahead;       /* of a seat: those who should have it before */
};

/* Less of either goes before; what a process wants counts first. */
struct rank {
	uint64_t want, v;
};

static struct rank rank_of(const struct token_slot *slot)
{
	return (struct rank){word_load(&slot->wants), v_of(slot)};
}

static bool is_before(struct rank a, struct rank b)
{
	return a.want < b.want || (a.want == b.want && a.v < b.v);
}

static struct queue find_queue(const struct token_seat *seat, unsigned but, uint64_t now_ns)
{
	const struct token_segment *segment = seat->segment;
	struct queue queue = {.best = TOKEN_NO_SLOT};
	struct rank ours = rank_of(own(seat)), best = {UINT64_MAX, UINT64_MAX};
	unsigned used = slots_used(segment);

	for (unsigned i = 0; i < used; i++) {
		const struct token_slot *slot = &segment->slots[i];
		struct rank rank = rank_of(slot);
		if (i == but || rank.want == TOKEN_IDLE || !is_tenant(slot) ||
			!is_awake(slot, now_ns))
			continue;
		queue.count++;
		queue.ahead += is_before(rank, ours);
		if (is_before(rank, best)) {
			queue.best = i;
			best = rank;
		}
	}
	return queue;
}

/* Who has not used its part has a claim to it, as far back as gets the token at once if it was
 * idle, and while it was not, far enough to make up for others' long commands. */
static void limit_claim(struct token_seat *seat, uint64_t now_ns)
{
	struct token_segment *segment = seat->segment;
	struct token_slot *slot = own(seat);
	unsigned holder = slot_of(word_load(&segment->holder)), active = 0;
	uint64_t least_v = V_MOST, claim_v = CLAIM_MOST_NS;

	for (unsigned i = 0; i < slots_used(segment); i++) {
		const struct token_slot *other = &segment->slots[i];
		if (i == seat->slot || !is_tenant(other) ||
			(i != holder && !is_wanting(other, now_ns)))
			continue;
		least_v = lesser(least_v, v_of(other));
		active++;
	}
	if (active == 0)
		least_v = lesser(word_load(&segment->newest_v), V_MOST);
	note_pause(seat, now_ns);
	if (seat->has_paused)
		claim_v = 2 * span_of(seat, active > 0 ? active : 1);
	if (least_v > claim_v && v_of(slot) < least_v - claim_v)
		word_store(&slot->v, least_v - claim_v);
	seat->has_paused = false;
}

static void set_want(struct token_seat *seat, enum token_want want, uint64_t now_ns)
{
	struct token_slot *slot = own(seat);

	if (word_load(&slot->wants) == TOKEN_IDLE)
		gaps_note(seat, now_ns);
	if (word_load(&slot->wants) == TOKEN_IDLE || !is_awake(slot, now_ns) || seat->has_paused)
		limit_claim(seat, now_ns);
	seat->wanted_at_ns = now_ns;
	word_store(&slot->wants, want);
	word_store(&slot->seen_at_ns, now_ns);
}

bool token_is_held(const struct token_seat *seat)
{
	return slot_of(word_load_in_order(&seat->segment->holder)) == seat->slot;
}

/* A holder that does not want the token is idle when it has not launched for a while; one that does
 * asks again and again, unless it has stopped. In either case what it has on the device must have
 * ended. But where a gap begins when that ends, ours follows at once: not before the device has
 * come to what the holder put behind ours, or it would wait for the new as well. */
static uint64_t lost_at_ns(const struct token_seat *seat, const struct token_slot *slot)
{
	const struct token_eye *eye = &seat->eye;

	if (eye->wants != TOKEN_IDLE)
		return greater(word_load(&slot->seen_at_ns) + TOKEN_STALE_NS, eye->drain_ns);
	if (!gaps_are_left(seat, slot))
		return greater(eye->changed_at_ns, eye->drain_ns) + TOKEN_IDLE_NS;
	uint64_t begins_at_ns = lesser(word_load(&own(seat)->drained_at_ns), eye->drain_ns);
	return greater(begins_at_ns + TOKEN_OVERLAP_NS, eye->drain_ns) - TOKEN_OVERLAP_NS;
}

/* When to look again at another that holds the token until at_ns. One that leaves gaps goes without
 * waking anybody: from the time when it can have launched, which is behind what we have there, on
 * that is looked for. */
static uint64_t look_at_ns(const struct token_seat *seat, const struct token_slot *slot,
	uint64_t at_ns, uint64_t now_ns)
{
	uint64_t drained_at_ns = word_load(&own(seat)->drained_at_ns);

	if (!gaps_are_left(seat, slot))
		return at_ns;
	if (seat->eye.wants == TOKEN_IDLE)
		at_ns = lesser(at_ns, lost_at_ns(seat, slot));
	else
		at_ns = lesser(at_ns, drained_at_ns);
	return at_ns > now_ns ? at_ns : now_ns + GAP_AGAIN_NS;
}

/* Its next launch goes the slow way, and asks for the token. */
static void revoke(struct token_slot *slot)
{
	int64_t left_ns = atomic_load(&slot->credit_ns);

	while (left_ns >= 0 &&
		!atomic_compare_exchange_weak(&slot->credit_ns, &left_ns, left_ns - REVOKED_NS))
		;
}

/* The next few look again soon, so that one of them takes what a dead holder has. Who is behind
 * these is rung for when its turn has come, and they look out for it. */
static uint64_t nap_of(const struct queue *queue)
{
	return queue->ahead < NEAR ? TOKEN_NAP_NS : TOKEN_FAR_NAP_NS;
}

/* How long to wait for another's token, or 0 where we have got it. */
static uint64_t take_or_wait(struct token_seat *seat, uint64_t holder, uint64_t now_ns)
{
	struct token_segment *segment = seat->segment;
	unsigned index = slot_of(holder);
	struct queue queue = find_queue(seat, index, now_ns);
	uint64_t nap_ns = nap_of(&queue);

	if (index == TOKEN_NO_SLOT || !is_tenant(&segment->slots[index])) {
		if (queue.best != seat->slot && now_ns - seat->waits_since_ns < nap_ns)
			return queue.ahead < NEAR ? LOOK_AGAIN_NS : nap_ns;
		return swap_holder(segment, holder, seat->slot) ? 0 : LOOK_AGAIN_NS;
	}
	struct token_slot *slot = &segment->slots[index];
	look(seat, holder, now_ns);
	uint64_t at_ns = lost_at_ns(seat, slot);
	/* Who should have it takes it, and if he does not, somebody does. */
	if (queue.best != seat->slot)
		at_ns += nap_ns;
	else if (word_load(&own(seat)->wants) == TOKEN_ENTITLED &&
		 gaps_goes_before(seat, own(seat), slot, now_ns))
		at_ns = now_ns;
	if (at_ns <= now_ns) {
		if (!swap_holder(segment, holder, seat->slot))
			return LOOK_AGAIN_NS;
		revoke(slot);
		return 0;
	}
	if (queue.ahead < NEAR)
		at_ns = look_at_ns(seat, slot, at_ns, now_ns);
	return greater(lesser(at_ns - now_ns, nap_ns), LOOK_AGAIN_NS);
}

/* Gone on without the token: the wait has been too long. */
static bool is_out_of_patience(struct token_seat *seat, uint64_t now_ns)
{
	if (seat->waits_since_ns == 0)
		seat->waits_since_ns = now_ns;
	if (now_ns - seat->waits_since_ns < TOKEN_PATIENCE_NS)
		return false;
	seat->waits_since_ns = 0;
	return true;
}

/* 0 where the token is ours and others have as good as nothing left on the device. */
static uint64_t get_token(struct token_seat *seat, uint64_t now_ns)
{
	uint64_t holder = word_load(&seat->segment->holder);

	if (slot_of(holder) != seat->slot) {
		seat->has_turn = false;
		uint64_t wait_ns = take_or_wait(seat, holder, now_ns);
		if (wait_ns > 0)
			return wait_ns;
	}
	if (!seat->has_turn) {
		seat->has_turn = true;
		seat->turn_v = v_of(own(seat));
	}
	uint64_t drain_ns = token_others_drain_ns(seat, now_ns);
	if (drain_ns <= now_ns + TOKEN_OVERLAP_NS)
		return 0;
	uint64_t wait_ns = drain_ns - now_ns - TOKEN_OVERLAP_NS;
	return greater(lesser(wait_ns, TOKEN_NAP_NS), LOOK_AGAIN_NS);
}

uint64_t token_turn_ns(struct token_seat *seat, uint64_t now_ns)
{
	const struct token_slot *slot = own(seat);
	struct queue queue = find_queue(seat, seat->slot, now_ns);

	if (queue.best == TOKEN_NO_SLOT)
		return UINT64_MAX;
	const struct token_slot *other = &seat->segment->slots[queue.best];
	uint64_t want = word_load(&slot->wants), other_want = word_load(&other->wants);
	if (want == TOKEN_BORROWING && other_want == TOKEN_ENTITLED)
		return 0;
	if (want == TOKEN_ENTITLED && other_want == TOKEN_BORROWING)
		return UINT64_MAX;
	uint32_t rate_ppm = token_rate_ppm(seat);
	uint64_t v = v_of(slot), end_v = v_of(other) + span_of(seat, queue.count);
	end_v = greater(end_v, seat->turn_v + v_for(TURN_LEAST_NS, rate_ppm));
	if (gaps_is_back(other, now_ns))
		end_v = lesser(
			end_v, v_of(other) + (gaps_is_back(slot, now_ns) ? span_of(seat, 1) : 0));
	if (v >= end_v)
		return 0;
	unsigned __int128 left_ns = (unsigned __int128)(end_v - v) * rate_ppm / PPM_WHOLE;
	return left_ns > 0 ? (uint64_t)left_ns : 1;
}

bool token_overtakes(struct token_seat *seat, uint64_t now_ns)
{
	limit_claim(seat, now_ns);
	return token_turn_ns(seat, now_ns) > 0;
}

/* Gives the token to who waits and should have it next, else to nobody. */
static unsigned pass(struct token_seat *seat, uint64_t now_ns)
{
	uint64_t holder = word_load(&seat->segment->holder);

	if (slot_of(holder) != seat->slot)
		return TOKEN_NO_SLOT;
	unsigned best = find_queue(seat, seat->slot, now_ns).best;
	seat->has_turn = false;
	return swap_holder(seat->segment, holder, best) ? best : TOKEN_NO_SLOT;
}

uint64_t token_ask(struct token_seat *seat, enum token_want want, uint64_t command_ns,
	uint64_t now_ns, unsigned *ret_ring)
{
	seat->command_ns = command_ns;
	*ret_ring = TOKEN_NO_SLOT;
	set_want(seat, want, now_ns);
	if (is_out_of_patience(seat, now_ns))
		return 0;
	uint64_t wait_ns = get_token(seat, now_ns);
	if (token_is_held(seat) && token_turn_ns(seat, now_ns) == 0) {
		*ret_ring = pass(seat, now_ns);
		wait_ns = TOKEN_NAP_NS;
	}
	if (wait_ns == 0)
		seat->waits_since_ns = 0;
	return wait_ns;
}

void token_rest(struct token_seat *seat, uint64_t now_ns)
{
	seat->waits_since_ns = 0;
	seat->wanted_at_ns = now_ns;
	seat->rested_used_ns = word_load(&own(seat)->used_ns);
	seat->has_left = false;
	word_store(&own(seat)->wants, TOKEN_IDLE);
}

unsigned token_leave(struct token_seat *seat, uint64_t now_ns)
{
	token_rest(seat, now_ns);
	seat->has_left = true;
	return pass(seat, now_ns);
}
