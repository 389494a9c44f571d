/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The account of a machine, as a table or as JSON.
 */
#include "command.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#define DEVICE_HEAD \
	"device              used              peak           busy ns            memory  name\n"
#define PROCESS_HEAD                                                                     \
	"\n    pid  alive  device              held              peak       GPU time ns" \
	"    kernels  contexts\n"

struct section {
	const char *name, *table_head;
};

/* By enum control_line. */
static const struct section sections[] = {
	{"devices", DEVICE_HEAD},
	{"processes", PROCESS_HEAD},
	{"unsupported", "\nunsupported calls\n"},
};
#define SECTION_COUNT (sizeof(sections) / sizeof(sections[0]))

static void print_row(const struct control_reply *line)
{
	if (line->line == CONTROL_LINE_DEVICE)
		printf("%6" PRIu32 " %17" PRIu64 " %17" PRIu64 " %17" PRIu64 " %17" PRIu64 "  %s\n",
			line->device, line->held_bytes, line->peak_bytes, line->gpu_time_ns,
			line->count, line->text);
	else if (line->line == CONTROL_LINE_PROCESS)
		printf("%7" PRId32 "  %-5s  %6" PRIu32 " %17" PRIu64 " %17" PRIu64 " %17" PRIu64
		       " %10" PRIu64 " %9" PRIu32 "\n",
			line->pid, line->is_alive ? "yes" : "no", line->device, line->held_bytes,
			line->peak_bytes, line->gpu_time_ns, line->count, line->contexts);
	else
		printf("%10" PRIu64 "  %s\n", line->count, line->text);
}

/* Names hold printable ASCII only, so that two characters need an escape. */
static void print_string(const char *text)
{
	putchar('"');
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			putchar('\\');
		putchar(*text);
	}
	putchar('"');
}

static bool ran_on(const struct control_reply *line, uint32_t sm)
{
	return sm < WIRE_MAX_SMS && (line->sms[sm / 64] >> sm % 64 & 1);
}

/* As "0-65,130": the SMs on which the process ran. */
static void print_sms(const struct control_reply *line)
{
	const char *separator = "";
	putchar('"');
	for (uint32_t sm = 0; sm < WIRE_MAX_SMS; sm++) {
		uint32_t first = sm;
		if (!ran_on(line, sm))
			continue;
		while (ran_on(line, sm + 1))
			sm++;
		printf("%s%" PRIu32, separator, first);
		if (sm > first)
			printf("-%" PRIu32, sm);
		separator = ",";
	}
	putchar('"');
}

static void print_json_row(const struct control_reply *line)
{
	if (line->line == CONTROL_LINE_DEVICE)
		printf("{\"device\": %" PRIu32 ", \"used\": %" PRIu64 ", \"peak\": %" PRIu64
		       ", \"busy_ns\": %" PRIu64 ", \"memory\": %" PRIu64 ", \"name\": ",
			line->device, line->held_bytes, line->peak_bytes, line->gpu_time_ns,
			line->count);
	else if (line->line == CONTROL_LINE_PROCESS)
		printf("{\"pid\": %" PRId32 ", \"alive\": %s, \"device\": %" PRIu32
		       ", \"held\": %" PRIu64 ", \"peak\": %" PRIu64 ", \"gpu_time_ns\": %" PRIu64
		       ", \"kernels\": %" PRIu64 ", \"contexts\": %" PRIu32,
			line->pid, line->is_alive ? "true" : "false", line->device,
			line->held_bytes, line->peak_bytes, line->gpu_time_ns, line->count,
			line->contexts);
	else
		printf("{\"count\": %" PRIu64 ", \"name\": ", line->count);
	if (line->line == CONTROL_LINE_PROCESS) {
		fputs(", \"sms\": ", stdout);
		print_sms(line);
	} else {
		print_string(line->text);
	}
	putchar('}');
}

/* Ends the section `open` (SECTION_COUNT: none) and begins all up to `wanted`. */
static size_t begin_sections(size_t open, size_t wanted, bool is_json)
{
	while (open != wanted) {
		size_t next = open == SECTION_COUNT ? 0 : open + 1;
		if (is_json && open != SECTION_COUNT)
			fputs("], ", stdout);
		if (is_json && next < SECTION_COUNT)
			printf("\"%s\": [", sections[next].name);
		if (!is_json && next == wanted && next < SECTION_COUNT)
			fputs(sections[next].table_head, stdout);
		open = next;
		if (next == SECTION_COUNT)
			break;
	}
	return open;
}

static bool report(int fd, bool is_json)
{
	struct control_request request = {.kind = CONTROL_ACCOUNT};
	struct control_reply line;
	size_t section = SECTION_COUNT;
	if (is_json)
		putchar('{');
	while (command_ask(fd, &request, &line)) {
		size_t before = section;
		section = begin_sections(section, line.line, is_json);
		if (line.line == CONTROL_LINE_END) {
			printf(is_json ? "\"malformed\": %" PRIu64 "}\n"
				       : "\nmalformed requests: %" PRIu64 "\n",
				line.count);
			return true;
		}
		if (is_json && before == section)
			fputs(", ", stdout);
		if (is_json)
			print_json_row(&line);
		else
			print_row(&line);
		request.index = line.next_index;
	}
	return false;
}

int command_account(int argc, char **argv)
{
	bool is_json = false;
	int rest;
	int fd = command_connect(argc, argv, &rest, &is_json);
	if (fd < 0)
		return 2;
	bool is_good = report(fd, is_json);
	close(fd);
	return is_good ? 0 : 1;
}
