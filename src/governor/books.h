/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The books of a device: what was given as credit, spent, billed and measured, and what other
 * processes at the device are told of it. The caller holds the device's lock for all of it.
 */
#ifndef CUSLICE_GOVERNOR_BOOKS_H
#define CUSLICE_GOVERNOR_BOOKS_H

#include "governor/flights.h"

/* No launch's. */
#define NO_LANE ((const void *)-1)

/* Predicted work after which a command is measured, and each of that length. Half more or less at
 * random: a program that repeats itself must not always have the same one of its kernels measured.
 */
#define SAMPLE_AFTER_NS NS_PER_MS

/* Brings the books up to now; at first it opens them. The share is read each time: it may have been
 * tightened while a launch waited.
 * has_waited  all flights are asked for, not only a few */
void books_update(struct device *dev, bool has_waited, uint64_t now_ns);

/* Share or terms have changed: who waits looks again, and others are told. */
void books_agree(struct device *dev);

/* Bills what was spent of the credit, and takes back the rest. */
void books_settle_credit(struct device *dev, uint64_t now_ns);

/* Predicted work is let go, and runs from `since_ns` on at the earliest. */
void books_spend(struct device *dev, uint64_t since_ns, int64_t predicted_ns);

/* Predicted work that has been let go and not ended. */
uint64_t books_remaining_ns(const struct device *dev, uint64_t now_ns);

/* The oldest command in flight takes so much longer than predicted that others shall not wait for
 * it, however many have been let go past it since. */
bool books_may_hang(const struct device *dev, uint64_t now_ns);

/* Gives credit. */
void books_grant(struct device *dev, uint64_t now_ns);

/* Tells other processes what we have on the device and have used. Where books_grant() or
 * books_update() came last, they did. */
void books_report(struct device *dev, uint64_t now_ns);

/* A launch on the lane: whether the program uses several streams these days. */
bool books_note_lane(struct device *dev, const void *lane);

/* The flight, where it is one, stands for all that was not measured since the last sample. */
void books_note_sample(
	struct device *dev, struct flight *flight, uint64_t unmeasured_ns, uint64_t now_ns);

/* A flight that was not launched is the sample of nothing: the next one is that. */
void books_return_sample(struct device *dev, const struct flight *flight);

/* Whether there is GPU time for it, its own, or that it may use without. */
bool books_has_time(const struct device *dev);

#endif
