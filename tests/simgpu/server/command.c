/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Commands that talk to the server of a machine.
 */
#include "command.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "address.h"

#define EXIT_REFUSED 1
#define EXIT_USAGE   2

int command_usage(const char *arguments)
{
	fprintf(stderr, "usage: simgpu %s\n", arguments);
	return EXIT_USAGE;
}

int command_connect_to(const char *dir)
{
	struct sockaddr_un address;
	if (!address_of_machine(dir, &address))
		return -1;
	int fd = address_connect(&address);
	if (fd < 0)
		fprintf(stderr, "simgpu: \"%s\": %s\n", address.sun_path, strerror(errno));
	return fd;
}

int command_connect(int argc, char **argv, int *ret_rest, bool *ret_json)
{
	static const struct option options[] = {{"dir", required_argument, NULL, 'd'},
		{"json", no_argument, NULL, 'j'}, {NULL, 0, NULL, 0}};
	const char *dir = getenv("SIMGPU_DIR");
	int option;
	optind = 1;
	while ((option = getopt_long(argc, argv, "+", options, NULL)) != -1) {
		if (option == 'd') {
			dir = optarg;
		} else if (option == 'j' && ret_json) {
			*ret_json = true;
		} else {
			if (option == 'j')
				fprintf(stderr, "simgpu: %s has no option --json\n", argv[0]);
			return -1;
		}
	}
	*ret_rest = optind;
	if (!dir || !dir[0]) {
		fputs("simgpu: which machine? Use --dir DIR or set SIMGPU_DIR\n", stderr);
		return -1;
	}
	return command_connect_to(dir);
}

bool command_ask(int fd, const struct control_request *request, struct control_reply *ret_reply)
{
	ssize_t got = -1;
	if (send(fd, request, sizeof(*request), MSG_NOSIGNAL) == (ssize_t)sizeof(*request))
		got = recv(fd, ret_reply, sizeof(*ret_reply), 0);
	if (got != (ssize_t)sizeof(*ret_reply)) {
		fputs("simgpu: the server is gone\n", stderr);
		return false;
	}
	if (ret_reply->status == WIRE_OK)
		return true;
	ret_reply->text[sizeof(ret_reply->text) - 1] = '\0';
	fprintf(stderr, "simgpu: %s\n", ret_reply->text);
	return false;
}

static bool fill_text(struct control_request *request, const char *text)
{
	if (strlen(text) < sizeof(request->text)) {
		strcpy(request->text, text);
		return true;
	}
	fprintf(stderr, "simgpu: \"%.64s...\": too long\n", text);
	return false;
}

static bool ask_and_close(int fd, const struct control_request *request)
{
	struct control_reply reply;
	bool is_good = command_ask(fd, request, &reply);
	close(fd);
	return is_good;
}

int command_set(int argc, char **argv)
{
	int rest;
	int fd = command_connect(argc, argv, &rest, NULL);
	if (fd < 0)
		return EXIT_USAGE;
	bool is_good = rest < argc;
	if (!is_good)
		command_usage("set [--dir DIR] KEY=VALUE...");
	for (int i = rest; is_good && i < argc; i++) {
		struct control_request request = {.kind = CONTROL_SET};
		struct control_reply reply;
		is_good = fill_text(&request, argv[i]) && command_ask(fd, &request, &reply);
	}
	close(fd);
	return is_good ? 0 : EXIT_REFUSED;
}

static bool read_int(const char *text, int32_t *ret_number)
{
	char *rest;
	errno = 0;
	long number = strtol(text, &rest, 10);
	if (rest == text || *rest != '\0' || errno || number < INT_MIN || number > INT_MAX) {
		fprintf(stderr, "simgpu: \"%s\": not a whole number\n", text);
		return false;
	}
	*ret_number = (int32_t)number;
	return true;
}

int command_fail(int argc, char **argv)
{
	struct control_request request = {.kind = CONTROL_FAIL, .count = 1};
	int rest;
	int fd = command_connect(argc, argv, &rest, NULL);
	if (fd < 0)
		return EXIT_USAGE;
	if (argc - rest < 2 || argc - rest > 3) {
		close(fd);
		return command_usage("fail [--dir DIR] SYMBOL RESULT [COUNT]");
	}
	if (!fill_text(&request, argv[rest]) || !read_int(argv[rest + 1], &request.result) ||
		(argc - rest == 3 && !read_int(argv[rest + 2], &request.count))) {
		close(fd);
		return EXIT_USAGE;
	}
	return ask_and_close(fd, &request) ? 0 : EXIT_REFUSED;
}

int command_wait_idle(int argc, char **argv)
{
	const struct control_request request = {.kind = CONTROL_WAIT_IDLE};
	int rest;
	int fd = command_connect(argc, argv, &rest, NULL);
	if (fd < 0)
		return EXIT_USAGE;
	return ask_and_close(fd, &request) ? 0 : EXIT_REFUSED;
}

int command_stop(int argc, char **argv)
{
	const struct control_request request = {.kind = CONTROL_STOP};
	struct control_reply reply;
	int rest;
	int fd = command_connect(argc, argv, &rest, NULL);
	if (fd < 0)
		return EXIT_USAGE;
	bool is_good = command_ask(fd, &request, &reply);
	/* The server closes the connection when its socket is gone. */
	while (is_good && recv(fd, &reply, sizeof(reply), 0) > 0)
		continue;
	close(fd);
	return is_good ? 0 : EXIT_REFUSED;
}
