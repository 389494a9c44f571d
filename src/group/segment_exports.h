/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Memory that one member of a group has handed out and others hold as well: which of them pays for
 * it, and who are its guests, which hold it and do not pay. Changes hands without a lock, whoever
 * is killed or stopped meanwhile. Works on the words of a segment alone, as segment_protocol.h.
 *
 * What a member pays is in its own account: these words say what of that stays when it dies.
 */
#ifndef CUSLICE_GROUP_SEGMENT_EXPORTS_H
#define CUSLICE_GROUP_SEGMENT_EXPORTS_H

#include "base/compiler.h"
#include "group/segment_layout.h"

/* By which members recognise memory: bytes that nothing else has while anybody holds it. */
struct segment_name {
	uint64_t words[SEGMENT_NAME_WORDS];
};

/* One export for as long as somebody pays for it: an entry and its generation. */
struct segment_export_id {
	unsigned number; /* from 1; 0: none */
	uint64_t generation;
};

/* `slot` has `units` in its account for memory that it holds, of the device `identity`; others may
 * become its guests from now on. None where all entries are taken.
 * Threads: those of one process one at a time, for all of one slot; processes any. None waits for
 * another, in all that follow.
 */
struct segment_export_id segment_exports_add(struct segment_export *exports, unsigned slot,
	uint64_t identity, uint64_t units, const struct segment_name *name);

/* The memory of this name, and who pays for it; none where nobody does. */
struct segment_export_id segment_exports_find(const struct segment_export *exports,
	uint64_t identity, const struct segment_name *name, unsigned *ret_payer,
	uint64_t *ret_units);

/* `slot`, which is not its payer, becomes a guest: from then on somebody pays until it leaves.
 * False where nobody pays any more; nothing has changed then. */
bool segment_exports_enter(
	struct segment_export *exports, unsigned slot, struct segment_export_id id) MUST_CHECK;
void segment_exports_leave(
	struct segment_export *exports, unsigned slot, struct segment_export_id id);

/* The payer holds it no more. True where nobody does: it gives its units back now. False where
 * there are guests: it goes on paying, and asks again. */
bool segment_exports_end(
	struct segment_export *exports, unsigned slot, struct segment_export_id id) MUST_CHECK;

/* Whether it is worth to ask again. */
bool segment_exports_has_guests(
	const struct segment_export *exports, unsigned slot, struct segment_export_id id);

/* Its payer is dead. A guest that has the units in its own account by now becomes the payer; false
 * where another was faster. */
bool segment_exports_is_orphan(const struct segment_export *exports, struct segment_export_id id);
bool segment_exports_adopt(
	struct segment_export *exports, unsigned slot, struct segment_export_id id) MUST_CHECK;

/* The process of the slot is dead: it is nobody's guest any more, and what it paid for is an orphan
 * or ends. Whoever calls holds the lock of the slot. May be cut short at any instruction.
 * Then: the units that the slot has to go on paying on the device `identity`. */
void segment_exports_reap(struct segment_export *exports, unsigned slot);
uint64_t segment_exports_kept(
	const struct segment_export *exports, unsigned slot, uint64_t identity);

#endif
