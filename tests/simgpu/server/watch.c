/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The GPU time of all processes, again and again: what shares are measured by, from outside.
 */
#include "command.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "value.h"

#define NS_PER_S       1000000000
#define DEFAULT_PERIOD (NS_PER_S / 100)

/* Each line has a time of its own: the machine goes on while it is asked. */
static bool tell_once(int fd)
{
	struct control_request request = {.kind = CONTROL_ACCOUNT};
	struct control_reply line;

	do {
		if (!command_ask(fd, &request, &line))
			return false;
		if (line.line == CONTROL_LINE_PROCESS)
			printf("%" PRIu64 " %" PRIu32 " %" PRId32 " %" PRIu64 " %" PRIu64 "\n",
				line.now_ns, line.device, line.pid, line.gpu_time_ns, line.count);
		request.index = line.next_index;
	} while (line.line == CONTROL_LINE_DEVICE || line.line == CONTROL_LINE_PROCESS);
	return fflush(stdout) == 0;
}

/* From one time of a fixed period to the next; those that have passed are left out. */
static void sleep_until_next(struct timespec *next, uint64_t period_ns)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	while (next->tv_sec < now.tv_sec ||
		(next->tv_sec == now.tv_sec && next->tv_nsec <= now.tv_nsec)) {
		uint64_t ns = (uint64_t)next->tv_nsec + period_ns;
		next->tv_sec += (time_t)(ns / NS_PER_S);
		next->tv_nsec = (long)(ns % NS_PER_S);
	}
	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, next, NULL) == EINTR)
		continue;
}

static bool read_period(const char *text, uint64_t *ret_ns)
{
	char reason[VALUE_REASON_LEN] = "less than 100us";

	if (value_read_duration(text, ret_ns, reason) && *ret_ns >= 100000)
		return true;
	fprintf(stderr, "simgpu: \"%s\": %s\n", text, reason);
	return false;
}

int command_watch(int argc, char **argv)
{
	static const struct option options[] = {{"dir", required_argument, NULL, 'd'},
		{"every", required_argument, NULL, 'e'}, {NULL, 0, NULL, 0}};
	const char *dir = getenv("SIMGPU_DIR");
	uint64_t period_ns = DEFAULT_PERIOD;
	struct timespec next;
	int option;

	optind = 1;
	while ((option = getopt_long(argc, argv, "+", options, NULL)) != -1) {
		if (option == 'd')
			dir = optarg;
		else if (option != 'e' || !read_period(optarg, &period_ns))
			return 2;
	}
	if (!dir || !dir[0] || optind < argc)
		return command_usage("watch --dir DIR [--every DURATION]");
	int fd = command_connect_to(dir);
	if (fd < 0)
		return 2;
	clock_gettime(CLOCK_MONOTONIC, &next);
	while (tell_once(fd))
		sleep_until_next(&next, period_ns);
	close(fd);
	return 1;
}
