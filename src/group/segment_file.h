/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The file of a segment: made complete or not at all, and nothing else taken for one.
 */
#ifndef CUSLICE_GROUP_SEGMENT_FILE_H
#define CUSLICE_GROUP_SEGMENT_FILE_H

#include "base/compiler.h"
#include "group/segment_layout.h"

#include <stdbool.h>

/* What the file begins with, a struct segment_header; zeroes behind it. */
struct segment_kind {
	char magic[8];
	uint32_t version, size, slot_count, device_count;
	bool is_for_all; /* made by root it is for other users too; their writers can cut it */
};
extern const struct segment_kind segment_kind_group; /* struct segment */

/* Opens the segment at `path`, a full name in an existing directory, and makes it where there is
 * none: of several that make it at a time one wins, and all use that one. Made by root it is for
 * all users that reach the directory, else for its own user. Its memory is set aside when it is
 * made, so that no access fails later. One that was just made is not removed as unused before
 * ret_fd and its mappings are closed.
 * ret_fd      for the caller to close; CLOEXEC
 * ret_reason  static text; set where false is returned
 * Threads: any. Keeps errno.
 */
bool segment_file_open(const char *path, const struct segment_kind *kind, int *ret_fd,
	const char **ret_reason) MUST_CHECK;

/* Opens it to look at only. False also where there is none. */
bool segment_file_peek(const char *path, const struct segment_kind *kind, int *ret_fd,
	const char **ret_reason) MUST_CHECK;

/* Which file it is, whatever its name is by now. */
struct segment_file_id {
	uint64_t device, inode;
};
bool segment_file_identify(int fd, struct segment_file_id *ret_id) MUST_CHECK;

/* True where `path` still is this file. */
bool segment_file_is(const char *path, const struct segment_file_id *id) MUST_CHECK;

/* Opens it once more, for locks of its own. False where `path` is no longer this file. */
bool segment_file_reopen(
	const char *path, const struct segment_file_id *id, int *ret_fd) MUST_CHECK;

/* Maps a whole segment, read-only for one that was opened to look at. A forked child does not have
 * the mapping. NULL without memory. */
void *segment_file_map(int fd, const struct segment_kind *kind, bool is_writable) MUST_CHECK;

/* The locks on the bytes of the slots, held by an open file description (F_OFD_SETLK). True where
 * it was to be had; where it could be had, for is_free. Never waits. */
bool segment_file_lock(int fd, unsigned slot) MUST_CHECK;
void segment_file_unlock(int fd, unsigned slot);
bool segment_file_is_free(int fd, unsigned slot) MUST_CHECK;

#endif
