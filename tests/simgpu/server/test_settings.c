/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Tests of settings: what is understood, what is refused and in which words.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "settings.h"

#define GIB (UINT64_C(1) << 30)

static struct settings fresh(void)
{
	struct settings settings;
	settings_init(&settings, "/some/where");
	return settings;
}

static void assert_set(struct settings *settings, const char *assignment)
{
	char error[SETTINGS_ERROR_LEN] = "";
	assert_true(settings_set(settings, assignment, false, error));
	assert_string_equal(error, "");
}

/* That the assignment is refused in just these words, and changes nothing. */
static void assert_refused(const char *assignment, bool is_live, const char *words)
{
	struct settings settings = fresh(), before = settings;
	char error[SETTINGS_ERROR_LEN] = "";
	assert_false(settings_set(&settings, assignment, is_live, error));
	assert_string_equal(error, words);
	assert_memory_equal(&settings, &before, sizeof(settings));
}

static void defaults_are_those_of_the_document(void **state)
{
	(void)state;
	struct settings settings = fresh();

	assert_int_equal(settings.device_count, 1);
	assert_int_equal(settings.driver_version, 13000);
	assert_int_equal(settings.copy_mib_per_ms, 0);
	assert_int_equal(settings.fill_mib_per_ms, 0);
	assert_int_equal(settings.d2d_mib_per_ms, 0);
	assert_int_equal(settings.memory_answer_us, 0);
	assert_int_equal(settings.strict_capture, 0);
	assert_int_equal(settings.slice_us, 1000);
	assert_int_equal(settings.kernel_count, 1);
	assert_string_equal(settings.kernels[0].name, "*");
	assert_int_equal(settings.kernels[0].block_ns, 10000);
	assert_int_equal(settings.devices[0].memory_bytes, 16 * GIB);
	assert_int_equal(settings.devices[0].context_bytes, 64 << 20);
	assert_int_equal(settings.devices[0].granularity_bytes, 512);
	assert_int_equal(settings.devices[0].sm_count, 132);
	assert_int_equal(settings.devices[0].cc_major, 9);
	assert_int_equal(settings.devices[0].cc_minor, 0);
}

static void every_key_is_understood(void **state)
{
	(void)state;
	struct settings settings = fresh();
	struct device_settings *device = &settings.devices[0];

	assert_set(&settings, "devices=4");
	assert_set(&settings, "driver_version=12080");
	assert_set(&settings, "copy_mib_per_ms=25");
	assert_set(&settings, "fill_mib_per_ms=2000");
	assert_set(&settings, "d2d_mib_per_ms=1000");
	assert_set(&settings, "memory_answer_us=3000");
	assert_set(&settings, "strict_capture=1");
	assert_set(&settings, "mps=1");
	assert_set(&settings, "mps_percentage=30");
	assert_set(&settings, "slice_us=2000");
	assert_set(&settings, "switch_us=7");
	assert_set(&settings, "reclaim_us=50000");
	assert_set(&settings, "name=Simulated H100");
	assert_set(&settings, "uuid=GPU-00112233-4455-6677-8899-aabbccddeeff");
	assert_set(&settings, "memory=80 GiB");
	assert_set(&settings, "memory_limit=40 GiB");
	assert_set(&settings, "granularity=2MiB");
	assert_set(&settings, "context_bytes=0");
	assert_set(&settings, "sm_count=8");
	assert_set(&settings, "cc=12.1");

	assert_int_equal(settings.device_count, 4);
	assert_int_equal(settings.driver_version, 12080);
	assert_int_equal(settings.copy_mib_per_ms, 25);
	assert_int_equal(settings.fill_mib_per_ms, 2000);
	assert_int_equal(settings.d2d_mib_per_ms, 1000);
	assert_int_equal(settings.memory_answer_us, 3000);
	assert_int_equal(settings.strict_capture, 1);
	assert_int_equal(settings.mps, 1);
	assert_int_equal(settings.mps_percentage, 30);
	assert_int_equal(settings.slice_us, 2000);
	assert_int_equal(settings.switch_us, 7);
	assert_int_equal(settings.reclaim_us, 50000);
	assert_string_equal(device->name, "Simulated H100");
	assert_int_equal(device->uuid[0], 0);
	assert_int_equal(device->uuid[15], 0xff);
	assert_int_equal(device->memory_bytes, 80 * GIB);
	assert_int_equal(device->limit_bytes, 40 * GIB);
	assert_int_equal(device->granularity_bytes, 2 << 20);
	assert_int_equal(device->context_bytes, 0);
	assert_int_equal(device->sm_count, 8);
	assert_int_equal(device->cc_major, 12);
	assert_int_equal(device->cc_minor, 1);
}

static void key_of_one_device_wins_whatever_the_order(void **state)
{
	(void)state;
	struct settings settings = fresh();

	assert_set(&settings, "devices=3");
	assert_set(&settings, "device.1.memory=4GiB");
	assert_set(&settings, "memory=8GiB");
	assert_set(&settings, "device.2.memory=1GiB");

	assert_int_equal(settings.devices[0].memory_bytes, 8 * GIB);
	assert_int_equal(settings.devices[1].memory_bytes, 4 * GIB);
	assert_int_equal(settings.devices[2].memory_bytes, 1 * GIB);
}

static void kernel_times_are_added_and_replaced(void **state)
{
	(void)state;
	struct settings settings = fresh();

	assert_set(&settings, "kernel.busy=100us");
	assert_set(&settings, "kernel.*=3ms");
	assert_set(&settings, "kernel.busy=5ns");

	assert_int_equal(settings.kernel_count, 2);
	assert_int_equal(settings.kernels[0].block_ns, 3000000);
	assert_string_equal(settings.kernels[1].name, "busy");
	assert_int_equal(settings.kernels[1].block_ns, 5);
}

static void bandwidth_of_kernels_stands_beside_their_time(void **state)
{
	(void)state;
	struct settings settings = fresh();

	assert_set(&settings, "kernel.copy.bandwidth=5.25");
	assert_set(&settings, "kernel.copy=100us");
	assert_set(&settings, "kernel.only.bandwidth=0.000001");
	assert_set(&settings, "kernel.*.bandwidth=999");

	assert_int_equal(settings.kernel_count, 3);
	assert_int_equal(settings.kernels[0].block_ns, 10000);
	assert_int_equal(settings.kernels[0].bandwidth_ppm, 999000000);
	assert_string_equal(settings.kernels[1].name, "copy");
	assert_int_equal(settings.kernels[1].block_ns, 100000);
	assert_int_equal(settings.kernels[1].bandwidth_ppm, 5250000);
	assert_int_equal(settings.kernels[2].block_ns, WIRE_KERNEL_AS_ALL);
	assert_int_equal(settings.kernels[2].bandwidth_ppm, 1);
	static const char *const wrong[] = {
		"", ".5", "1.", "1000", "1.2345678", "1e3", "-1", "0.5x", "1.2.3"};
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		char text[64], words[160];
		snprintf(text, sizeof(text), "kernel.k.bandwidth=%s", wrong[i]);
		snprintf(words, sizeof(words),
			"kernel.k.bandwidth=\"%s\": not a number like 0.5, below 1000, of six "
			"decimals",
			wrong[i]);
		assert_refused(text, false, words);
	}
}

static void leaks_are_a_list(void **state)
{
	(void)state;
	struct settings settings = fresh();

	assert_int_equal(settings.leaks, 0);
	assert_set(&settings, "leak=cdp");
	assert_int_equal(settings.leaks, WIRE_LEAK_CDP);
	assert_set(&settings, "leak=null_stream,thread,graph,mps_scale,set_params");
	assert_int_equal(settings.leaks, WIRE_LEAK_NULL_STREAM | WIRE_LEAK_THREAD |
						 WIRE_LEAK_GRAPH | WIRE_LEAK_MPS_SCALE |
						 WIRE_LEAK_SET_PARAMS);
	assert_set(&settings, "leak=none");
	assert_int_equal(settings.leaks, 0);
	assert_refused("leak=cdp,water", true, "leak=\"cdp,water\": \"water\" is not known");
	assert_refused("leak=cdp,", true, "leak=\"cdp,\": \"\" is not known");
}

static void more_kernels_than_the_machine_holds_are_refused(void **state)
{
	(void)state;
	struct settings settings = fresh();
	char text[64], error[SETTINGS_ERROR_LEN];
	for (int i = 1; i < WIRE_MAX_KERNELS; i++) {
		snprintf(text, sizeof(text), "kernel.k%d=1us", i);
		assert_set(&settings, text);
	}

	assert_false(settings_set(&settings, "kernel.last=1us", false, error));

	assert_string_equal(error, "kernel.last=\"1us\": more than 64 kernels");
	assert_set(&settings, "kernel.k3=7us");
}

static void uuids_differ_by_device_and_place_only(void **state)
{
	(void)state;
	struct settings here = fresh(), again = fresh(), there;
	settings_init(&there, "/some/where/else");

	assert_memory_equal(here.devices[0].uuid, again.devices[0].uuid, 16);
	assert_memory_not_equal(here.devices[0].uuid, here.devices[1].uuid, 16);
	assert_memory_not_equal(here.devices[0].uuid, there.devices[0].uuid, 16);
}

static void what_is_not_understood_is_quoted(void **state)
{
	(void)state;
	assert_refused("memory", false, "\"memory\": not of the form key=value");
	assert_refused("=3", false, "\"=3\": not of the form key=value");
	assert_refused("memroy=3", false, "memroy=\"3\": there is no such key");
	assert_refused("device.1.devices=3", false, "device.1.devices=\"3\": there is no such key");
	assert_refused("device.16.memory=1", false, "device.16.memory=\"1\": there is no such key");
	assert_refused("memory=4 GG", false,
		"memory=\"4 GG\": unknown unit \"GG\" (use B, KiB, MiB, GiB or TiB)");
	assert_refused("memory=", false, "memory=\"\": not a whole number");
	assert_refused("memory=-1", false, "memory=\"-1\": not a whole number");
	assert_refused("memory=99999999999999999999", false,
		"memory=\"99999999999999999999\": the number is too large");
	assert_refused(
		"memory=99999999TiB", false, "memory=\"99999999TiB\": the number is too large");
	assert_refused("devices=17", false, "devices=\"17\": not from 1 to 16");
	assert_refused("devices=2x", false, "devices=\"2x\": \"x\" follows the number");
	assert_refused("sm_count=0", false, "sm_count=\"0\": not from 1 to 4096");
	assert_refused("granularity=0", false, "granularity=\"0\": not from 1 to 1073741824 bytes");
	assert_refused("slice_us=0", false, "slice_us=\"0\": not from 1 to 1000000000");
	assert_refused("cc=9", false, "cc=\"9\": not of the form major.minor, such as 9.0");
	assert_refused("cc=9.0a", false, "cc=\"9.0a\": not of the form major.minor, such as 9.0");
	assert_refused("uuid=GPU-12", false, "uuid=\"GPU-12\": not 32 hexadecimal digits");
	assert_refused("name=", false, "name=\"\": a name is missing");
	assert_refused("name=a\tb", false, "name=\"a\tb\": a character that cannot be printed");
	assert_refused(
		"kernel.busy=10", false, "kernel.busy=\"10\": no unit (use ns, us, ms or s)");
	assert_refused("kernel.=10us", false, "kernel.=\"10us\": a name is missing");
}

static void only_some_keys_change_while_the_machine_runs(void **state)
{
	(void)state;
	struct settings settings = fresh();
	char error[SETTINGS_ERROR_LEN];

	assert_true(settings_set(&settings, "memory=1GiB", true, error));
	assert_true(settings_set(&settings, "device.0.memory=2GiB", true, error));
	assert_true(settings_set(&settings, "slice_us=5", true, error));
	assert_true(settings_set(&settings, "kernel.x=5us", true, error));

	assert_refused(
		"devices=2", true, "devices=\"2\": cannot be changed while the machine runs");
	assert_refused(
		"sm_count=2", true, "sm_count=\"2\": cannot be changed while the machine runs");
	assert_refused("device.1.memory=2GiB", true, "device.1: the machine has 1 device");
}

static void device_that_the_machine_does_not_have_is_refused(void **state)
{
	(void)state;
	struct settings settings = fresh();
	char error[SETTINGS_ERROR_LEN];

	assert_set(&settings, "device.2.memory=4GiB");
	assert_set(&settings, "devices=2");

	assert_false(settings_check(&settings, error));
	assert_string_equal(error, "device.2: the machine has 2 devices");
}

/* Writes the text to a file, reads it as settings, and removes it. */
static bool read_text(struct settings *settings, const char *text, char *error)
{
	char path[] = "/tmp/simgpu-settings-XXXXXX";
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
	bool is_good = settings_read_file(settings, path, error);
	unlink(path);
	return is_good;
}

static void file_of_settings_is_read_line_by_line(void **state)
{
	(void)state;
	struct settings settings = fresh();
	char error[SETTINGS_ERROR_LEN] = "";

	assert_true(read_text(&settings, "# a machine\n\n  devices=2 \r\nmemory=1GiB", error));

	assert_int_equal(settings.device_count, 2);
	assert_int_equal(settings.devices[1].memory_bytes, GIB);
}

static void file_with_a_fault_is_refused_with_the_line(void **state)
{
	(void)state;
	struct settings settings = fresh();
	char error[SETTINGS_ERROR_LEN], longer[1000];

	assert_false(read_text(&settings, "devices=2\n\nsize=3\n", error));
	assert_non_null(strstr(error, ":3: size=\"3\": there is no such key"));

	memset(longer, 'x', sizeof(longer));
	longer[sizeof(longer) - 1] = '\0';
	assert_false(read_text(&settings, longer, error));
	assert_non_null(strstr(error, ":1: the line is too long"));

	assert_false(settings_read_file(&settings, "/nowhere/at/all", error));
	assert_string_equal(error, "\"/nowhere/at/all\": No such file or directory");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults_are_those_of_the_document),
		cmocka_unit_test(every_key_is_understood),
		cmocka_unit_test(key_of_one_device_wins_whatever_the_order),
		cmocka_unit_test(kernel_times_are_added_and_replaced),
		cmocka_unit_test(bandwidth_of_kernels_stands_beside_their_time),
		cmocka_unit_test(leaks_are_a_list),
		cmocka_unit_test(more_kernels_than_the_machine_holds_are_refused),
		cmocka_unit_test(uuids_differ_by_device_and_place_only),
		cmocka_unit_test(what_is_not_understood_is_quoted),
		cmocka_unit_test(only_some_keys_change_while_the_machine_runs),
		cmocka_unit_test(device_that_the_machine_does_not_have_is_refused),
		cmocka_unit_test(file_of_settings_is_read_line_by_line),
		cmocka_unit_test(file_with_a_fault_is_refused_with_the_line),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
