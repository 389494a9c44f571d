/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Where the socket of a machine is.
 */
#ifndef SIMGPU_ADDRESS_H
#define SIMGPU_ADDRESS_H

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/un.h>

/* The address of the socket in `dir`. Returns false, with a message on stderr, if the path is
 * longer than an address can be. */
bool address_of_machine(const char *dir, struct sockaddr_un *ret_address);

/* The same for the socket by which programs find the control daemon of MPS: `control` in the
 * directory, which they know as CUDA_MPS_PIPE_DIRECTORY. */
bool address_of_mps(const char *dir, struct sockaddr_un *ret_address);

/* A connection to the server, or -1 with errno set. The caller closes it. */
int address_connect(const struct sockaddr_un *address);

/* Whether a server listens there. */
bool address_accepts(const struct sockaddr_un *address);

#endif
