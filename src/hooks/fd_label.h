/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * A number on an open file, that passes with it to whomever its descriptor is handed. Descriptors
 * of exported memory all lead to the driver's one device file, and nothing that the driver tells of
 * them is the same in two processes: so the exporter writes a number on what it hands out.
 *
 * The number is where a read lock of one byte lies that belongs to the open file description, far
 * beyond what anybody locks. It keeps nobody from anything, ends with the last descriptor, and can
 * be read in /proc/self/fdinfo.
 */
#ifndef CUSLICE_HOOKS_FD_LABEL_H
#define CUSLICE_HOOKS_FD_LABEL_H

#include <stdint.h>

/* A number at random, of 62 bits; 0 where the system gives none. Keeps errno, as all that follow.
 * Threads: any. */
uint64_t fd_label_make(void);

/* Where it cannot be written, there is none. */
void fd_label_write(int fd, uint64_t label);

/* 0 where there is none. */
uint64_t fd_label_read(int fd);

#endif
