/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * This process's slot in a device's segment: how it is taken, and how those of dead processes are
 * cleared. A slot is held as one of a group is (group/segment_seat.h). All of it happens in the
 * helper thread (group/helper.h), where the process has one.
 */
#ifndef CUSLICE_TOKEN_TOKEN_SEAT_H
#define CUSLICE_TOKEN_TOKEN_SEAT_H

#include "base/compiler.h"
#include "group/segment_file.h"
#include "token/token_layout.h"

#include <stdbool.h>

extern const struct segment_kind token_kind; /* struct token_segment */

/* What the thread keeps of a device. Wiped at fork. */
struct token_place {
	const char *path;
	struct token_segment *segment;
	struct segment_file_id file;
	unsigned slot;
	int fd; /* negative where it is opened each time */
};

/* Opens or makes the segment at `path`, which stays as it is from now on, and takes a slot there,
 * with nothing in it. From then on the thread clears what dead processes leave. Files of devices
 * that nobody uses any more are removed.
 * is_patient  a slot that becomes free within 50 ms is waited for
 * ret_reason  static text; set where false is returned
 * Threads: one at a time for a place. */
bool token_place_take(const char *path, bool is_patient, struct token_place *ret_place,
	const char **ret_reason) MUST_CHECK;

#endif
