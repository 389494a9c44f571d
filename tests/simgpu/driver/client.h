/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The connection to the server of the simulated machine: see wire.h.
 */
#ifndef SIMGPU_DRIVER_CLIENT_H
#define SIMGPU_DRIVER_CLIENT_H

#include <stdbool.h>
#include <stddef.h>

#include "../wire.h"

/* Returns true once this process is connected; then the functions below may be called. */
bool client_open(void);

/* Ends the connection; for the child of a fork too, where it gives up the parent's. */
void client_close(void);

/* Answers the machine and the ring while the connection is open. */
struct wire_machine *client_machine(void);
struct wire_ring *client_ring(void);

/* Sends a request that has no reply.
 * bytes    of `request` that count
 * Returns  false once the connection is lost
 * Threads  any
 */
bool client_send(const struct wire_request *request, size_t bytes);

/* Sends a request that has no reply, and waits until the server has obeyed: others that ask it
 * afterwards, by whatever connection, see what has changed.
 * Returns  false once the connection is lost
 * Threads  any
 */
bool client_tell(const struct wire_request *request);

/* Sends a request and waits for its reply.
 * Returns  false once the connection is lost
 * Threads  any; one request at a time is under way
 */
bool client_ask(const struct wire_request *request, struct wire_reply *ret_reply);

/* The same for a reply that brings an fd, which is the caller's to close; -1 where none came. */
bool client_ask_fd(const struct wire_request *request, struct wire_reply *ret_reply, int *ret_fd);

/* Returns false once the server has gone. Does not block. */
bool client_is_alive(void);

#endif
