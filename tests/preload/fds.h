/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Descriptors that one process hands to another.
 */
#ifndef CUSLICE_TESTS_PRELOAD_FDS_H
#define CUSLICE_TESTS_PRELOAD_FDS_H

void send_fd(int socket_fd, int fd);
int receive_fd(int socket_fd);

#endif
