/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Runs segment_exports.c itself in every order of accesses that a payer, its guests, their deaths
 * at any access and their reapers may take, in the manner of model.h. What a member does around
 * those functions is as in segment_common.c; what a slot has in its account changes in one step,
 * for how that is done model.c has shown.
 */
#ifndef CUSLICE_TESTS_UNIT_EXPORTS_MODEL_H
#define CUSLICE_TESTS_UNIT_EXPORTS_MODEL_H

#include <stdbool.h>

#define SLOTS      3
#define OPERATIONS 4

/* Of two pieces of memory, 1 and 2. */
enum operation { STOP, EXPORT_1, EXPORT_2, OPEN_1, CLOSE, TEND };

/* Faults that are put in, to see that they are found. */
enum fault { SOUND, NO_ENDING, NO_SECOND_LOOK, ADOPTS_FIRST, KEEPS_NOTHING };

/* Processes' lives: operations one after the other, and how many may die and come back. */
struct play {
	enum operation scripts[SLOTS][OPERATIONS];
	unsigned slot_count, deaths, reaper_deaths, rebirths;
	enum fault fault;
};

/* Room for as many moments; false without memory. */
bool plays_init(unsigned moment_count);
void plays_finish(void);

/* Visits all moments of it. Returns NULL, or what is wrong in one of them. */
const char *play_explore(const struct play *play, unsigned *ret_moment_count);

#endif
