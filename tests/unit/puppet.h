/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * A process that becomes a member of a group and does there what it is told: tests of the segment
 * need several processes, and ones that can be killed.
 */
#ifndef CUSLICE_TESTS_UNIT_PUPPET_H
#define CUSLICE_TESTS_UNIT_PUPPET_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* In memory that the test and all puppets share. */
struct puppet_stage {
	_Atomic bool is_over; /* hammering ends */
	_Atomic uint64_t arrived, granted;
};
extern struct puppet_stage *puppet_stage;

/* Makes the stage, before any puppet is started, or clears it. */
void puppet_set_stage(void);

struct puppet {
	pid_t pid;
	int fd;
};

enum puppet_order {
	PUPPET_ATTACH, /* 1 if it could */
	PUPPET_NAME,   /* device `device` has the UUID that is all `value`; 1 if it could */
	PUPPET_TAKE,   /* 1 if it was granted */
	PUPPET_ANYWAY, /* these as in segment.h; 0 where that returns nothing */
	PUPPET_GIVE,
	PUPPET_USED,
	PUPPET_LIMIT,
	PUPPET_ALLOW,
	PUPPET_ALLOW_SHARE,
	PUPPET_SHARE,
	PUPPET_SET_BUCKET, /* word `device` of device 0's bucket becomes `value` */
	PUPPET_BUCKET,     /* word `device` of device 0's bucket */
	PUPPET_UNBILLED,   /* segment_note_in_flight_ns(), of `value` ns that are not billed */
	PUPPET_DRAINED_AT, /* or that are until `value` */
	PUPPET_SUM_UNBILLED,
	PUPPET_EXPECTS,
	PUPPET_FLY, /* segment_take_in_flight() */
	PUPPET_IN_FLIGHT,
	PUPPET_SET_USER,    /* for ever; 1 if it could */
	PUPPET_CLOSE_ALL,   /* opens and closes the file, then closes all but its own descriptor */
	PUPPET_DESCRIPTORS, /* how many it has */
	PUPPET_DENY,        /* the system call of number `value` answers ENOSYS from now on; 1 if
			       it could be had */
	PUPPET_LOOK_AFTER,  /* as in segment.h; 0 */
	PUPPET_FORK,        /* leaves a child that sleeps; its number */
	PUPPET_FORK_TAKE, /* a child takes `value` and ends; 1 if it was granted, 2 if it held some
			   */
	PUPPET_EXECUTE,   /* becomes a program that sleeps; no answer */
	PUPPET_HAMMER,    /* takes and gives at random, at most `value` at a time, until the
			     test says so; what it then holds */
	PUPPET_HAMMER_AND_DIE, /* the same, but dies at a random moment within milliseconds */
	PUPPET_RACE,           /* `value` rounds: takes 1 at the same time as another does; how
				  often not exactly one of the two was granted it */
};

/* Starts one. It ends when the test does. */
struct puppet puppet_start(const char *path);
/* Starts one, attaches it and gives it device 0 with UUID 1. */
struct puppet puppet_member(const char *path);

uint64_t puppet_do(
	const struct puppet *puppet, enum puppet_order order, unsigned device, uint64_t value);
/* Without waiting for the answer. */
void puppet_tell(
	const struct puppet *puppet, enum puppet_order order, unsigned device, uint64_t value);
uint64_t puppet_hear(const struct puppet *puppet);
/* False where it has died instead. */
bool puppet_has_answered(const struct puppet *puppet, uint64_t *ret_answer);

/* Kills it and waits until it is gone. */
void puppet_kill(struct puppet *puppet);

#endif
