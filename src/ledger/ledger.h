/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Device-memory ledger: who holds which bytes, and whether more may be had. Bytes are reserved
 * before the driver is asked, then committed under the key (an address, a handle) it gave, or
 * cancelled; so no race of threads takes a device beyond its quota. Never calls the driver.
 *
 * In a process that is a member of a group (segment_attach()) quota and bytes are those of all its
 * members together, and no race of processes goes beyond. What stands under which key, and what it
 * is held for, each process knows for itself.
 */
#ifndef CUSLICE_LEDGER_LEDGER_H
#define CUSLICE_LEDGER_LEDGER_H

#include "base/compiler.h"
#include "group/segment_exports.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define LEDGER_MAX_DEVICES 64
#define LEDGER_UNLIMITED   ((uint64_t)INT64_MAX)

/* No more than this is ever granted on a device, also where there is no quota; as in a group. */
#define LEDGER_MOST ((UINT64_C(1) << 45) - 1)

/* Linear device memory is counted in multiples of this, as simgpu hands it out by default. What a
 * real driver takes, and adds for its own blocks, has not been measured yet. */
#define LEDGER_GRANULARITY 512ull

/* What bytes are held for, so that a refusal can tell where they went. One row each. */
#define LEDGER_KINDS(KIND)                                                                    \
	KIND(LINEAR, "linear")     /* cuMemAlloc and its kin, managed memory */               \
	KIND(ARRAY, "arrays")      /* arrays and mipmapped arrays */                          \
	KIND(POOL, "pools")        /* what stream-ordered pools have taken from the device */ \
	KIND(PHYSICAL, "physical") /* cuMemCreate and its kin, multicast */                   \
	KIND(GRAPH, "graphs")      /* memory nodes of graphs */                               \
	KIND(IMPORT, "imports")    /* memory of other groups that was opened here */          \
	KIND(MODULE, "modules")    /* modules, libraries and their variables */               \
	KIND(CONTEXT, "contexts")  /* contexts and their heaps */                             \
	KIND(OTHER, "other")       /* what the driver says is held and no hook saw */

enum ledger_kind {
#define KIND(name, text) LEDGER_##name,
	LEDGER_KINDS(KIND)
#undef KIND
		LEDGER_KIND_COUNT
};

/* Bytes promised on a device but not (or not yet) under a key. It may be kept as long as one
 * likes, made larger and smaller, and ends by ledger_commit() or ledger_cancel(). */
struct reservation {
	uint64_t bytes;
	unsigned device;
	enum ledger_kind kind;
};

/* What stands under one key. */
struct holding {
	uint64_t key;   /* ledger_key() */
	uint64_t bytes; /* as charged */
	void *context;  /* the CUcontext in which it was allocated, and with which it dies; NULL:
			   it outlives contexts */
	uint16_t device;
	uint16_t common; /* number among what the group has in common; 0: it is ours alone */
	enum ledger_kind kind;
};

/* Makes the ledger, empty and without quotas. At the start, once. False without memory.
 * A forked child finds its own ledger empty, with the quotas of the parent. */
bool ledger_init(void) MUST_CHECK;

/* The quota becomes `bytes` if that is less than it is. Below what is held it denies growth.
 * Threads: any, as for all that follow. */
void ledger_tighten_quota(unsigned device, uint64_t bytes);
/* The same, but for more too. */
void ledger_set_quota(unsigned device, uint64_t bytes);
uint64_t ledger_quota(unsigned device); /* LEDGER_UNLIMITED without one */

/* How often the quota of any device has changed: by this process at once, by others of its group
 * when ledger_look_again() sees it, which one thread calls now and then. */
extern _Atomic uint32_t ledger_quota_changes __attribute__((visibility("hidden")));
void ledger_look_again(unsigned device);
uint64_t ledger_used(unsigned device); /* bytes reserved and held */

/* A number that is another one after each change of ledger_used(). */
uint64_t ledger_moment(unsigned device);

/* Of that by this process, and what it holds for which another member of its group pays: the driver
 * may show that as its own. It is raised before the driver is asked and lowered after, so it is
 * never less than what the driver has given; unless bytes come back meanwhile, which shows in
 * ledger_give_backs(): how often they have up to now, of which 19 bits are counted. */
uint64_t ledger_used_here(unsigned device);
uint64_t ledger_give_backs(unsigned device);

/* What this process has for one kind, for people; that of linear memory is what the other kinds
 * leave of all, and so not of one moment. And the kind's name. */
uint64_t ledger_used_for(unsigned device, enum ledger_kind kind);
const char *ledger_kind_name(enum ledger_kind kind);

/* A device address is its own key. Handles of other kinds might be equal to an address, or to each
 * other; neither has anything in its highest byte, where the kind goes. */
static inline uint64_t ledger_key(enum ledger_kind kind, uint64_t handle)
{
	return handle ^ (uint64_t)kind << 56;
}

/* `bytes` rounded up to what the driver takes; UINT64_MAX where that overflows. */
static inline uint64_t ledger_round(uint64_t bytes)
{
	if (bytes > UINT64_MAX - LEDGER_GRANULARITY)
		return UINT64_MAX;
	return (bytes + LEDGER_GRANULARITY - 1) & ~(LEDGER_GRANULARITY - 1);
}

/* Reserves `bytes`, already rounded; 0 always succeeds. One compare-and-swap.
 * ret_reservation  valid only when true is returned: to be committed or cancelled, exactly once
 * Returns          false when the quota would be exceeded; nothing is changed then
 */
bool ledger_reserve(unsigned device, enum ledger_kind kind, uint64_t bytes,
	struct reservation *ret_reservation) MUST_CHECK;

/* Makes a reservation as large as `bytes`, to what the driver really took; one that is larger
 * stays. False as ledger_reserve(). */
bool ledger_extend(struct reservation *reservation, uint64_t bytes) MUST_CHECK;

/* Moves `bytes` of `from`, a multiple of LEDGER_GRANULARITY and no more than it has, to `into`,
 * which is of the same device. They are nobody else's in between. */
void ledger_move(struct reservation *from, struct reservation *into, uint64_t bytes);

/* The same, and tells that what is added is in flight, before others can find it taken:
 * *flying_bytes grows by that. False changes nothing. */
bool ledger_extend_in_flight(
	struct reservation *reservation, uint64_t bytes, uint64_t *flying_bytes) MUST_CHECK;

/* Makes it as small as `bytes`; one that is smaller stays. */
void ledger_shrink(struct reservation *reservation, uint64_t bytes);

/* Makes it exactly `bytes`, whatever the quota says: what the driver has taken by itself cannot be
 * refused any more. Beyond the quota it denies growth. Starts from a reservation of 0 bytes too. */
void ledger_settle(struct reservation *reservation, uint64_t bytes);

/* Books the reservation under `key`; what stood there before is given back. False where the
 * ledger itself is out of memory; the reservation then still stands. */
bool ledger_commit(const struct reservation *reservation, uint64_t key, void *context) MUST_CHECK;
void ledger_cancel(const struct reservation *reservation);

/* Bytes for which the driver is being asked: if it refuses, they come back. Ended when all is said.
 */
void ledger_end_flight(unsigned device, uint64_t bytes);
uint64_t ledger_in_flight(unsigned device);
uint64_t ledger_in_flight_here(unsigned device); /* of that this process's */

/* Before a refusal: sees to bytes of dead members, should nobody be there who does. */
void ledger_look_after(void);

/* True while the driver may still be taking down the memory of a member that has died, whose bytes
 * are back already: its own out-of-memory is worth another try. */
bool ledger_expects_memory(unsigned device);

/* A free in two steps, for the driver may refuse it: taking the holding out comes before the
 * driver is asked (afterwards another thread may be given the same address), giving its bytes
 * back, or putting it back, after. False for a key that is not ours to count. */
bool ledger_take_out(uint64_t key, struct holding *ret_holding) MUST_CHECK;
void ledger_give_back(const struct holding *holding);
void ledger_put_back(const struct holding *holding);
/* Neither: its bytes are in a reservation of the caller's from now on. */
void ledger_take_over(const struct holding *holding);

/* Around a call of the driver by which memory may come back that nobody has taken out. */
void ledger_begin_end(void);
void ledger_end_end(void);

/* Of ledger_used_here() what the driver may have got back already: what was taken out and is
 * neither given nor put back, at most. UINT64_MAX where that is not known. To be read after it. */
uint64_t ledger_leaving(unsigned device);

/* What stands under `key` is handed out: other members of the group may know it by `name` from now
 * on, and do not pay for it. Where it has a name already it keeps that. Returns whether it has one:
 * never without a group. */
bool ledger_export(uint64_t key, const struct segment_name *name);

/* Memory that another member of the group pays for, by its name. Books it under `key`, charged with
 * nothing; afterwards it is as all others. This process pays for it should the other die.
 * ret_bytes  how much it is
 * Returns    false where nobody pays, or without memory: nothing is changed then */
bool ledger_join(unsigned device, enum ledger_kind kind, const struct segment_name *name,
	uint64_t key, void *context, uint64_t *ret_bytes) MUST_CHECK;

/* A context has died and took its memory with it. */
void ledger_drop_context(const void *context);

#endif
