/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "token/token.h"
#include "base/clock.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/units.h"
#include "base/wait.h"
#include "base/wipe.h"
#include "group/helper.h"
#include "token/token_seat.h"

#include <string.h>

#define MAX_DEVICES 64
#define MAX_PATH    512

/* A seat that could not be had may be there later: slots become free, files go. */
#define TRY_AGAIN_NS (2 * NS_PER_S)

/* Of slots whose process spends its share alone. */
#define ALONE (UINT64_C(1) << 63)

/* Wiped at fork, for a slot is a process's own. */
static struct device_token {
	struct lock lock;
	atomic_bool is_in;
	_Atomic uint64_t again_at_ns; /* to try; 0: it has not been tried */
	struct token_place place;
	struct token_seat seat;
} * tokens;

/* What passes to children. */
static struct named {
	atomic_bool is_named;
	char path[MAX_PATH];
	struct token_request request;
} named[MAX_DEVICES];
static atomic_flag has_told = ATOMIC_FLAG_INIT;

bool token_init(void)
{
	tokens = wipe_alloc(MAX_DEVICES * sizeof(*tokens));
	return tokens != NULL && helper_init();
}

void token_name_device(unsigned device, const char *path, const struct token_request *request)
{
	if (device >= MAX_DEVICES || strlen(path) >= MAX_PATH)
		return;
	strcpy(named[device].path, path);
	named[device].request = *request;
	/* release: pairs with the acquire in token_join() */
	atomic_store_explicit(&named[device].is_named, true, memory_order_release);
}

/* With the lock held. is_again: it is not worth much time. */
static bool join(struct device_token *token, const struct named *name, bool is_again)
{
	const char *reason;

	if (!token_place_take(name->path, !is_again, &token->place, &reason)) {
		if (!atomic_flag_test_and_set(&has_told))
			log_at(LOG_WARN, "token",
				"%s: %s; this process is held to its share, but cannot take turns "
				"with others on the GPU",
				name->path, reason);
		return false;
	}
	const struct token_request *request = &name->request;
	token->seat = (struct token_seat){
		.segment = token->place.segment,
		.slot = token->place.slot,
		.quantum_ns = request->quantum_ns != 0 ? request->quantum_ns : TOKEN_QUANTUM_NS,
	};
	token_enter(&token->seat,
		request->group != 0 ? request->group & ~ALONE : ALONE | (token->place.slot + 1),
		&request->entitlement);
	return true;
}

struct token_seat *token_joined(unsigned device)
{
	/* acquire: pairs with the releases in token_name_device() and try_to_join() */
	if (device >= MAX_DEVICES ||
		!atomic_load_explicit(&named[device].is_named, memory_order_acquire) ||
		!atomic_load_explicit(&tokens[device].is_in, memory_order_acquire))
		return NULL;
	return &tokens[device].seat;
}

/* Threads that come meanwhile wait for what comes of it. */
static void try_to_join(struct device_token *token, const struct named *name)
{
	uint64_t again_at_ns;

	lock_take(&token->lock);
	again_at_ns = atomic_load(&token->again_at_ns);
	if (!atomic_load(&token->is_in) && clock_now_ns() >= again_at_ns) {
		if (join(token, name, again_at_ns != 0))
			atomic_store_explicit(&token->is_in, true, memory_order_release);
		atomic_store(&token->again_at_ns, clock_now_ns() + TRY_AGAIN_NS);
	}
	lock_drop(&token->lock);
}

struct token_seat *token_join(unsigned device)
{
	/* acquire: pairs with the release in token_name_device() */
	if (device >= MAX_DEVICES ||
		!atomic_load_explicit(&named[device].is_named, memory_order_acquire))
		return NULL;
	struct device_token *token = &tokens[device];
	if (token_joined(device) == NULL &&
		clock_now_ns() >= atomic_load_explicit(&token->again_at_ns, memory_order_relaxed))
		try_to_join(token, &named[device]);
	return token_joined(device);
}

static struct token_slot *slot_of(struct token_seat *seat)
{
	return &seat->segment->slots[seat->slot];
}

void token_agree(
	struct token_seat *seat, const struct token_entitlement *entitlement, uint64_t quantum_ns)
{
	struct token_entitlement now = *entitlement;

	if (now.guarantee_ppm >= PPM_WHOLE)
		now.guarantee_ppm = 0;
	token_change(seat, &now);
	seat->quantum_ns = quantum_ns != 0 ? quantum_ns : TOKEN_QUANTUM_NS;
}

_Atomic int64_t *token_credit(struct token_seat *seat)
{
	return &slot_of(seat)->credit_ns;
}

uint32_t token_bell(const struct token_seat *seat)
{
	return atomic_load_explicit(&seat->segment->slots[seat->slot].bell, memory_order_relaxed);
}

void token_sleep(struct token_seat *seat, uint32_t seen, uint64_t ns)
{
	wait_shared_at_most(&slot_of(seat)->bell, seen, ns);
}

void token_ring(struct token_seat *seat, unsigned slot)
{
	if (slot < TOKEN_SLOTS)
		wait_shared_wake_all(&seat->segment->slots[slot].bell);
}
