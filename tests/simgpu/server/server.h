/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The server of one simulated machine: one thread that owns the engine, the accounts and all
 * connections. The parts of the server share this header; the program sees server_run.
 */
#ifndef SIMGPU_SERVER_H
#define SIMGPU_SERVER_H

#include <stdbool.h>
#include <stdint.h>

#include "../wire.h"
#include "account.h"
#include "block.h"
#include "control.h"
#include "engine.h"
#include "ring.h"
#include "settings.h"

/* A client with so many operations pending or ends unpublished is not read from until there are
 * half as many: its sends block, and the server's memory is bounded. */
#define CLIENT_MAX_OUTSTANDING (1u << 18)

#define SERVER_MAX_CALLS 256

/* One connection. It is a process of the machine once it has said hello. */
struct client {
	struct client *next, **link;
	struct server *server;
	int fd;
	int32_t pid;
	struct account *account; /* NULL before hello, as all below */
	struct engine_process *process;
	struct ring ring;
	bool is_dirty; /* in the server's list of rings to be flushed */
	struct client *next_dirty;
	bool is_paused;                  /* not read from */
	bool waits_for_idle;             /* a CONTROL_WAIT_IDLE is to be answered */
	int arena_fds[WIRE_MAX_DEVICES]; /* and 1; 0: it has none */
};

struct unsupported_call {
	char name[WIRE_NAME_LEN];
	uint64_t count;
};

struct server {
	struct settings settings;
	struct wire_machine *machine;
	int machine_fd, listen_fd, epoll_fd;
	int mps_fd; /* where programs look for the control daemon of MPS; -1: there is none */
	struct engine *engine;
	struct accounts accounts;
	struct blocks blocks;
	uint64_t now_ns;
	struct client *clients, *dirty;
	uint32_t call_count;
	struct unsupported_call calls[SERVER_MAX_CALLS + 1]; /* the last counts all others */
	uint64_t malformed; /* requests without a reply that made no sense */
	bool has_waiters;   /* a client waits for the machine to be idle */
	bool is_stopping;
};

struct server_options {
	const char *dir;
	int ready_fd;      /* one byte is written there when the socket accepts; -1: nobody waits */
	bool is_temporary; /* remove the directory in the end */
	bool is_detached;  /* leave the standard streams when ready */
};

/* Serves a machine in the foreground until SIGTERM, SIGINT or CONTROL_STOP. Returns the exit status
 * of the program; what went wrong is on stderr. */
int server_run(const struct settings *settings, const struct server_options *options);

/* CLOCK_MONOTONIC in nanoseconds. */
uint64_t server_clock_ns(void);

/* Writes what `server->settings` says into the engine, the accounts and the shared machine. */
void server_apply_settings(struct server *server);

/* Takes a new connection over, or closes it if the system has no room for it. */
void client_open(struct server *server, int fd);
void client_close(struct client *client);

/* Reads and obeys some requests; `has_ended` says that the other side is gone. May close the
 * client. */
void client_serve(struct client *client, bool has_ended);

/* Publishes what ended since the last time, for all clients that this concerns. */
void client_flush_all(struct server *server);

/* The engine's engine_end_fn; the owner is the client. */
void client_on_end(void *owner, const struct wire_ring_entry *entry, const struct sm_set *sms);

/* Obey a request of ../wire.h and one of control.h, whose kinds are CONTROL_SET and above. Time is
 * `server->now_ns`, to which the engine was advanced. Return false if the connection has to end. */
bool request_obey(struct client *client, const struct wire_request *request, size_t size);
bool control_obey(struct client *client, struct control_request *request);

/* What a process had of a device up to now, whether it is alive or not. */
struct account_line server_account_line(
	const struct server *server, const struct account *account, uint32_t device);

/* The SMs on which its kernels ran, as of now; NULL: none. */
const struct sm_set *server_account_sms(
	const struct server *server, const struct account *account, uint32_t device);

/* Answers those who wait for the machine to be idle, if it is. */
void control_answer_idle(struct server *server);

#endif
