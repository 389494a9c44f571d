/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * This process among all that have a share of a device: what the governor asks before it lets work
 * go. The protocol is in token_protocol.h; here are the files, the sleeping and the waking.
 */
#ifndef CUSLICE_TOKEN_TOKEN_H
#define CUSLICE_TOKEN_TOKEN_H

#include "token/token_protocol.h"

/* What is asked for at a device until token_agree(). Passes to children. */
struct token_request {
	struct token_entitlement entitlement;
	uint64_t group;      /* a hash of whom it spends its share with; 0: of nobody else */
	uint64_t quantum_ns; /* 0: TOKEN_QUANTUM_NS */
};

/* Makes what is needed, without devices. At the start, once. False without memory. */
bool token_init(void) MUST_CHECK;

/* Says which file the device's segment is and what to ask for there. Nothing is opened yet. */
void token_name_device(unsigned device, const char *path, const struct token_request *request);

/* The seat of this process at the device, which it takes at the first call, and in a forked child
 * anew; NULL where the device has no segment, or it cannot be had, which is logged once. Then it
 * tries again every 2 s, when called. Holding no lock that the helper thread may want.
 * Threads: any. */
struct token_seat *token_join(unsigned device);

/* The same, where it has been taken. Threads: any. All that follow: one at a time for a seat. */
struct token_seat *token_joined(unsigned device);

/* From now on this is asked for, in place of what the request said; no guarantee where that is the
 * whole. Others go by it at their next look. quantum_ns 0: TOKEN_QUANTUM_NS. */
void token_agree(
	struct token_seat *seat, const struct token_entitlement *entitlement, uint64_t quantum_ns);

/* What may be spent without asking: token_take_credit() and others' revoking go there. */
_Atomic int64_t *token_credit(struct token_seat *seat);

/* Sleeps on our bell, unless it was rung since `seen`, for at most `ns`. Threads: any. */
uint32_t token_bell(const struct token_seat *seat);
void token_sleep(struct token_seat *seat, uint32_t seen, uint64_t ns);

/* Wakes who sleeps on the slot's bell; nobody for TOKEN_NO_SLOT. */
void token_ring(struct token_seat *seat, unsigned slot);

#endif
