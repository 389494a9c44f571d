/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * What is free of each SM of a device, and which SMs the blocks of a kernel get.
 *
 * Blocks spread over the SMs as far as they can: none gets its next one while another that has
 * room has fewer of this launch. Where they do not come out even, SMs on which nothing runs are
 * served first, and each launch begins behind the SM at which the last one stopped.
 */
#ifndef SIMGPU_PLACES_H
#define SIMGPU_PLACES_H

#include <stdbool.h>
#include <stdint.h>

#include "sm_set.h"

/* lcm(1..32): the part of an SM that a block takes is a whole number of units. */
#define SM_UNITS 144403552893600ull

/* Blocks on one SM. */
struct place {
	uint32_t sm, blocks;
};

struct places {
	uint32_t sm_count;
	uint32_t next_sm; /* the first to be served */
	uint64_t free_units;
	uint64_t *units;      /* free, by SM */
	uint32_t *room;       /* blocks that each SM has room for, while it is worked out */
	uint32_t *given;      /* blocks that each SM gets, the same */
	struct place *result; /* of the last places_take */
};

/* What a kernel may have. */
struct places_wish {
	uint64_t blocks;              /* at least 1 */
	uint32_t fit;                 /* how many of them one SM holds */
	const struct sm_set *of;      /* SMs that it may use; NULL: all */
	const struct sm_set *but_not; /* NULL: none */
	/* Where it may use only some SMs at a time: those that it uses, and how many more. */
	const struct sm_set *chosen; /* NULL: no such limit */
	uint32_t may_choose;
};

/* A device of `sm_count` SMs, all free; finish frees what was taken for it. */
void places_init(struct places *places, uint32_t sm_count);
void places_finish(struct places *places);

/* Takes as many places as there are, up to the wish. The result is in places->result, an entry for
 * each SM that got blocks; returns the number of entries, 0 if there is no room. */
uint32_t places_take(struct places *places, const struct places_wish *wish);

/* Gives places back that blocks of `fit` an SM had. */
void places_give_back(
	struct places *places, const struct place *list, uint32_t count, uint32_t fit);

#endif
