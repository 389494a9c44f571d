/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Whose turn it is on a device. At any time one process holds the token, and only it lets work go;
 * so what it measures is its own GPU time and no neighbour's. Pure: memory of the segment and the
 * time come as arguments, nothing is asked of the system.
 *
 * Who waits for the token sleeps, never longer than it is told to here, and asks again. Nobody has
 * to do anything for others to go on: a holder that is idle, stopped, dead or hostile loses the
 * token to whoever waits.
 */
#ifndef CUSLICE_TOKEN_TOKEN_PROTOCOL_H
#define CUSLICE_TOKEN_TOKEN_PROTOCOL_H

#include "base/compiler.h"
#include "token/token_layout.h"

#include <stdbool.h>
#include <stdint.h>

#define TOKEN_NO_SLOT TOKEN_SLOTS

/* How long before the end of others' work the next holder lets its own go, so that the device does
 * not idle between them: the time in which a process wakes up. */
#define TOKEN_OVERLAP_NS 200000u
/* A holder that has nothing on the device and has not launched for so long has become idle. */
#define TOKEN_IDLE_NS 100000u
/* Who sleeps for the token asks again at least every TOKEN_NAP_NS, or where many are before it
 * every TOKEN_FAR_NAP_NS. Who has not done so for TOKEN_STALE_NS is stopped or dead, and is passed
 * over.
 */
#define TOKEN_NAP_NS     2000000u
#define TOKEN_FAR_NAP_NS 7000000u
#define TOKEN_STALE_NS   10000000u
/* Nobody waits longer for others, whatever they claim. */
#define TOKEN_PATIENCE_NS 2000000000u

#define TOKEN_QUANTUM_NS 5000000u

enum token_class { TOKEN_BATCH, TOKEN_LATENCY };

/* What a group may have of the device. All processes of a group should say the same. */
struct token_entitlement {
	uint32_t guarantee_ppm; /* 0: only what guarantees leave */
	uint32_t weight;        /* 1 .. 10000: how those without a guarantee divide that */
	enum token_class class;
	bool may_borrow;
};
uint64_t token_pack(const struct token_entitlement *entitlement);
struct token_entitlement token_unpack(uint64_t word);

enum token_want {
	TOKEN_IDLE,
	TOKEN_ENTITLED, /* wants what is its own */
	TOKEN_BORROWING /* wants only what nobody else does */
};

/* One process at one device. Zeroed but for the first three. */
struct token_seat {
	struct token_segment *segment;
	unsigned slot;
	uint64_t quantum_ns;

	uint64_t turn_v;         /* our v when the turn began */
	bool has_turn;           /* we held the token when we last looked */
	uint64_t wanted_at_ns;   /* when a launch was last known to wait */
	bool has_paused;         /* it was idle or stopped since then, and has no old claims */
	uint64_t command_ns;     /* what the launch takes that asked last; 0: not known */
	uint64_t rested_used_ns; /* what had been used when none waited any more */
	bool has_left;           /* launches have waited for something else since */
	uint64_t back_used_ns;   /* what had been used when it came back from a gap */
	uint64_t waits_since_ns; /* for the token, or for others' work; 0: does not */
	/* What all tenants are entitled to together, as of so many changes. */
	struct token_sums {
		bool is_known, has_others, has_latency, has_siblings;
		struct token_entitlement ours; /* the group's */
		uint64_t changes, guaranteed_ppm, weights;
	} sums;
	/* What was last seen of the holder. */
	struct token_eye {
		uint64_t holder;
		int64_t spent_ns;
		uint64_t granted_ns, drained_at_ns, wants, used_ns;
		uint64_t drain_ns;      /* when its work should end */
		uint64_t changed_at_ns; /* when any of this last changed */
	} eye;
};

/* The seat's slot becomes a tenant's. group is not 0. */
void token_enter(
	struct token_seat *seat, uint64_t group, const struct token_entitlement *entitlement);

/* The tenant is entitled to that from now on. */
void token_change(struct token_seat *seat, const struct token_entitlement *entitlement);

/* What a slot's owner left is gone. By who holds the slot's lock. */
void token_clear(struct token_segment *segment, unsigned slot);

/* True where another process is a tenant of the device. The second looks at each slot instead of
 * what is kept in the seat, and may be asked beside all that goes on there. */
bool token_has_others(struct token_seat *seat);
bool token_sees_others(const struct token_seat *seat);
/* True where one of these is of class latency. */
bool token_has_latency(struct token_seat *seat);

/* True where one that leaves gaps in its work (token_gaps.h) waits or is expected back, and goes
 * before us then. */
bool token_expects_back(const struct token_seat *seat, uint64_t now_ns);

/* The part of the device that this process should get while all want it: 1000 ppm at least. */
uint32_t token_rate_ppm(struct token_seat *seat);

/* This process used so much more; less than nothing gives back. */
void token_bill(struct token_seat *seat, int64_t used_ns);

/* Tells others what we have on the device: credit that launches may now spend unasked, and when
 * all that was let go before should have ended. */
void token_publish(
	struct token_seat *seat, uint64_t granted_ns, uint64_t drained_at_ns, uint64_t now_ns);

/* Takes what is left of the credit; less than it is where others revoked it. */
int64_t token_take_credit(_Atomic int64_t *credit_ns);

/* A launch wants to go: asks for the token, and hands it on where our turn is over. Returns 0 where
 * it may go, as far as others are concerned; otherwise for how long to sleep on the bell before
 * asking again. To be called again at least every TOKEN_FAR_NAP_NS for as long as the launch waits,
 * for whatever reason but its own share.
 * want        not TOKEN_IDLE
 * command_ns  what it should take; 0 where that is not known
 * ret_ring    the slot whose bell is to be rung, or TOKEN_NO_SLOT
 */
uint64_t token_ask(struct token_seat *seat, enum token_want want, uint64_t command_ns,
	uint64_t now_ns, unsigned *ret_ring) MUST_CHECK;

/* No launch waits any more. The token stays where it is: the next launch may come at once. */
void token_rest(struct token_seat *seat, uint64_t now_ns);

/* Launches wait for something else, and none will go for a while: hands the token on. Returns the
 * slot whose bell is to be rung, or TOKEN_NO_SLOT. */
unsigned token_leave(struct token_seat *seat, uint64_t now_ns) MUST_CHECK;

bool token_is_held(const struct token_seat *seat);

/* How much GPU time may be used until the turn ends; UINT64_MAX while nobody else waits, 0 where it
 * has ended. */
uint64_t token_turn_ns(struct token_seat *seat, uint64_t now_ns);

/* For who goes without the token: false where it has used so much more than its part that who waits
 * comes first. */
bool token_overtakes(struct token_seat *seat, uint64_t now_ns);

/* GPU time that all others have used, with what they have spent of their credit; only differences
 * mean something. And when what they have on the device should have ended. */
uint64_t token_others_used_ns(const struct token_seat *seat);
uint64_t token_others_drain_ns(struct token_seat *seat, uint64_t now_ns);

#endif
