/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Settings from any bytes, by libFuzzer. The input is cut at each 0xff: the first piece is a policy
 * file, the second the plain INI file, every other a variable. Beside what the sanitizers see:
 * values stay in their bounds, problems are printable text, and nothing that the environment or
 * the plain file says loosens what the policy alone says.
 */
#include "config/config.h"
#include "config/config_parse.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_VARIABLES 16
#define DEVICE_BYTES  (16ull << 30)
#define DEVICE_SMS    100

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char folder[] = "/tmp/cuslice-fuzz-XXXXXX";
static char policy_path[64], plain_path[64], plain_variable[96];
static struct config everything, policy_alone;

static void claim(bool is_so, const char *text)
{
	if (!is_so) {
		fprintf(stderr, "not so: %s\n", text);
		abort();
	}
}

static void remove_folder(void)
{
	unlink(policy_path);
	unlink(plain_path);
	rmdir(folder);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	claim(mkdtemp(folder) != NULL, "there is a folder for files");
	snprintf(policy_path, sizeof(policy_path), "%s/a.ini", folder);
	snprintf(plain_path, sizeof(plain_path), "%s/plain", folder);
	snprintf(plain_variable, sizeof(plain_variable), "CUSLICE_CONFIG=%s", plain_path);
	atexit(remove_folder);
	return 0;
}

/* Cuts the next piece off. */
static size_t next_piece(const uint8_t **data, size_t *size, const uint8_t **ret_piece)
{
	const uint8_t *end = *size == 0 ? NULL : memchr(*data, 0xff, *size);
	size_t len = end == NULL ? *size : (size_t)(end - *data);

	*ret_piece = *data;
	*data += len + (end != NULL);
	*size -= len + (end != NULL);
	return len;
}

static void write_file(const char *path, const uint8_t *bytes, size_t len)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	claim(fd >= 0 && write(fd, bytes, len) == (ssize_t)len && close(fd) == 0, "files work");
}

static void check_value(const struct config_value *value)
{
	claim(value->devices.number < CONFIG_MAX_DEVICES, "the device exists");
	claim(memchr(value->text, '\0', CONFIG_TEXT_LEN) != NULL, "the text ends");
	if (value->key == CONFIG_MEMORY)
		claim((value->memory.bytes == 0) != (value->memory.ppm == 0) &&
				value->memory.bytes <= INT64_MAX && value->memory.ppm <= PPM_WHOLE,
			"memory is in its bounds");
	if (value->key == CONFIG_COMPUTE)
		claim((value->compute.sm_count == 0) != (value->compute.ppm == 0) &&
				value->compute.ppm <= PPM_WHOLE,
			"a share is in its bounds");
	if (value->key == CONFIG_BURST)
		claim(value->burst_ns >= 1000000 && value->burst_ns <= 10000000000, "a burst too");
}

static void check_config(const struct config *config)
{
	claim(config->value_count <= CONFIG_MAX_VALUES, "values fit");
	for (unsigned i = 0; i < config->value_count; i++)
		check_value(&config->values[i]);
	for (unsigned i = 0; i < config->problem_count && i < CONFIG_MAX_PROBLEMS; i++) {
		size_t len = strlen(config->problems[i]);
		claim(len > 0 && len < CONFIG_PROBLEM_LEN, "a problem has a text");
		for (size_t at = 0; at < len; at++)
			claim(config->problems[i][at] >= ' ' && config->problems[i][at] <= '~',
				"a problem is printable");
	}
}

/* The strictest of what counts; all of it where nothing does. */
static void resolve(const struct config *config, const struct config_device *device,
	uint64_t *ret_bytes, uint32_t *ret_ppm)
{
	*ret_bytes = UINT64_MAX;
	*ret_ppm = PPM_WHOLE;
	for (unsigned i = 0; i < config->value_count; i++) {
		const struct config_value *value = &config->values[i];
		if (!config_value_counts(config, value, device))
			continue;
		if (value->key == CONFIG_MEMORY) {
			uint64_t bytes = units_resolve_size(value->memory, DEVICE_BYTES);
			*ret_bytes = bytes < *ret_bytes ? bytes : *ret_bytes;
		} else if (value->key == CONFIG_COMPUTE) {
			uint32_t ppm = units_resolve_share(value->compute, DEVICE_SMS);
			*ret_ppm = ppm < *ret_ppm ? ppm : *ret_ppm;
		}
	}
}

static void check_that_policy_holds(const struct config_device *device)
{
	uint64_t bytes, policy_bytes;
	uint32_t ppm, policy_ppm;

	resolve(&everything, device, &bytes, &ppm);
	resolve(&policy_alone, device, &policy_bytes, &policy_ppm);
	claim(bytes <= policy_bytes && ppm <= policy_ppm, "the policy holds");
	claim(bytes == UINT64_MAX || config_limits_memory(&everything), "memory is to be limited");
	claim(ppm == PPM_WHOLE || config_limits_compute(&everything), "compute is to be limited");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *environment[MAX_VARIABLES + 2] = {plain_variable};
	const uint8_t *piece;

	size_t len = next_piece(&data, &size, &piece);
	write_file(policy_path, piece, len);
	len = next_piece(&data, &size, &piece);
	write_file(plain_path, piece, len);
	unsigned count = 1;
	for (; count <= MAX_VARIABLES && size > 0; count++) {
		len = next_piece(&data, &size, &piece);
		environment[count] = strndup((const char *)piece, len);
	}

	config_read_from(environment, folder, false, &everything);
	config_read_from(NULL, folder, false, &policy_alone);
	check_config(&everything);
	check_config(&policy_alone);
	for (int number = -1; number < 3; number++)
		check_that_policy_holds(&(struct config_device){.number = number});
	for (unsigned i = 0; i < everything.value_count; i++) {
		struct config_device device = config_device_of(&everything.values[i]);
		device.number = 0;
		check_that_policy_holds(&device);
	}
	for (unsigned i = 1; i < count; i++)
		free(environment[i]);
	return 0;
}
