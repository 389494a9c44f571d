/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * gpu-semantics [CHECK]: makes one check, or lists them.
 */
#include "semantics.h"

#include <stdio.h>
#include <string.h>

static const struct check {
	const char *name;
	void (*run)(void);
} checks[] = {
	{"elapsed_negative", check_elapsed_negative},
	{"elapsed_step", check_elapsed_step},
	{"empty_elapsed", check_empty_elapsed},
	{"event_cost", check_event_cost},
	{"capture_relaxed", check_capture_relaxed},
	{"capture_legacy", check_capture_legacy},
	{"stream_context", check_stream_context},
	{"primary_state", check_primary_state},
	{"primary_reset", check_primary_reset},
	{"free_async_linear", check_free_async_linear},
	{"old_allocation", check_old_allocation},
};

#define CHECK_COUNT (sizeof(checks) / sizeof(checks[0]))

void semantics_holds(bool holds)
{
	probe_say("holds", "%s", holds ? "yes" : "no");
}

float semantics_elapsed_ms(CUevent begin, CUevent end)
{
	float ms;

	MUST(cuEventElapsedTime(&ms, begin, end));
	return ms;
}

int main(int argc, char *argv[])
{
	for (size_t i = 0; i < CHECK_COUNT; i++) {
		if (argc == 1) {
			puts(checks[i].name);
		} else if (strcmp(checks[i].name, argv[1]) == 0) {
			checks[i].run();
			return 0;
		}
	}
	if (argc != 1)
		fprintf(stderr, "usage: %s [CHECK]; without one, the checks are listed\n", argv[0]);
	return argc == 1 ? 0 : 2;
}
