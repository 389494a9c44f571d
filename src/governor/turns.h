/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * When a launch that cannot go on credit may go: there has to be GPU time, room in flight, and
 * beside other processes the token.
 */
#ifndef CUSLICE_GOVERNOR_TURNS_H
#define CUSLICE_GOVERNOR_TURNS_H

#include "governor/flights.h"

/* What is to be done with a launch. */
struct decision {
	uint64_t pause_ns; /* 0: it may go */
	bool is_for_time;  /* the pause ends when there is GPU time */
	bool is_beyond;    /* it goes past the bound on work in flight, so its end must be seen */
	bool is_forced;    /* and that although others are in front of it */
	uint64_t others_drain_ns; /* what other processes have on the device ends then */
};

/* A command on that stream goes now: those that go in one turn run beside each other. */
void turns_join(struct device *dev, const void *lane);

/* Waits until the command may go. Returns with the device's lock held, and its books brought up to
 * *ret_now_ns. */
struct decision turns_wait(struct device *dev, const struct command *command, uint64_t *ret_now_ns);

#endif
