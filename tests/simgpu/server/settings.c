/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Keys of the settings: what they are called, where they are kept, what they may be.
 */
#include "settings.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "value.h"

#define LINE_LEN 512

enum key_type {
	KEY_NUMBER,
	KEY_NUMBER64,
	KEY_BYTES,
	KEY_NAME,
	KEY_CAPABILITY,
	KEY_UUID,
	KEY_LEAKS
};

struct key {
	const char *name;
	enum key_type type;
	bool is_of_device;
	bool is_live;
	uint64_t min, max;
	size_t offset; /* in struct device_settings or struct settings */
};

#define GIB                (UINT64_C(1) << 30)
#define OF_MACHINE(member) offsetof(struct settings, member)
#define OF_DEVICE(member)  offsetof(struct device_settings, member)

/* clang-format off */
static const struct key keys[] = {
	{"devices", KEY_NUMBER, false, false, 1, WIRE_MAX_DEVICES, OF_MACHINE(device_count)},
	{"driver_version", KEY_NUMBER, false, false, 1000, 99990, OF_MACHINE(driver_version)},
	{"copy_mib_per_ms", KEY_NUMBER, false, true, 0, 1000000, OF_MACHINE(copy_mib_per_ms)},
	{"fill_mib_per_ms", KEY_NUMBER, false, true, 0, 1000000, OF_MACHINE(fill_mib_per_ms)},
	{"d2d_mib_per_ms", KEY_NUMBER, false, true, 0, 1000000, OF_MACHINE(d2d_mib_per_ms)},
	{"memory_answer_us", KEY_NUMBER, false, true, 0, 1000000000, OF_MACHINE(memory_answer_us)},
	{"strict_capture", KEY_NUMBER, false, false, 0, 1, OF_MACHINE(strict_capture)},
	{"mps", KEY_NUMBER, false, false, 0, 1, OF_MACHINE(mps)},
	{"mps_percentage", KEY_NUMBER, false, false, 1, 100, OF_MACHINE(mps_percentage)},
	{"leak", KEY_LEAKS, false, true, 0, 0, OF_MACHINE(leaks)},
	{"slice_us", KEY_NUMBER64, false, true, 1, 1000000000, OF_MACHINE(slice_us)},
	{"switch_us", KEY_NUMBER64, false, true, 0, 1000000000, OF_MACHINE(switch_us)},
	{"reclaim_us", KEY_NUMBER64, false, true, 0, 1000000000, OF_MACHINE(reclaim_us)},
	{"name", KEY_NAME, true, false, 0, 0, OF_DEVICE(name)},
	{"uuid", KEY_UUID, true, false, 0, 0, OF_DEVICE(uuid)},
	{"memory", KEY_BYTES, true, true, 1, 1024 * 1024 * GIB, OF_DEVICE(memory_bytes)},
	{"memory_limit", KEY_BYTES, true, true, 0, 1024 * 1024 * GIB, OF_DEVICE(limit_bytes)},
	{"granularity", KEY_BYTES, true, false, 1, GIB, OF_DEVICE(granularity_bytes)},
	{"context_bytes", KEY_BYTES, true, false, 0, 1024 * GIB, OF_DEVICE(context_bytes)},
	{"module_bytes", KEY_BYTES, true, false, 0, 1024 * GIB, OF_DEVICE(module_bytes)},
	{"pool_chunk", KEY_BYTES, true, false, 512, GIB, OF_DEVICE(pool_chunk_bytes)},
	{"sm_count", KEY_NUMBER, true, false, 1, 4096, OF_DEVICE(sm_count)},
	{"cc", KEY_CAPABILITY, true, false, 0, 0, OF_DEVICE(cc_major)},
};
/* clang-format on */

/* By the bits of enum wire_leak. */
static const char *const leaks[] = {
#define LEAK(bit, name) #name,
#include "../leaks.def"
#undef LEAK
	NULL};

#undef OF_MACHINE
#undef OF_DEVICE
#define KEY_COUNT (sizeof(keys) / sizeof(keys[0]))

__attribute__((format(printf, 2, 3))) static bool refuse(char *error, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	vsnprintf(error, SETTINGS_ERROR_LEN, format, args);
	va_end(args);
	return false;
}

/* A UUID that looks like a random one (version 4) and follows from the place of the machine. */
static void make_uuid(uint8_t uuid[16], const char *place, uint32_t device)
{
	for (unsigned half = 0; half < 2; half++) {
		uint64_t hash = 0xcbf29ce484222325u + half * 0x9e3779b97f4a7c15u + device;
		for (const char *c = place; *c; c++)
			hash = (hash ^ (unsigned char)*c) * 0x100000001b3u;
		hash = (hash ^ hash >> 32) * 0xd6e8feb86659fd93u;
		memcpy(uuid + 8 * half, &hash, sizeof(hash));
	}
	uuid[6] = (uint8_t)((uuid[6] & 0x0f) | 0x40);
	uuid[8] = (uint8_t)((uuid[8] & 0x3f) | 0x80);
}

void settings_init(struct settings *settings, const char *place)
{
	*settings = (struct settings){
		.device_count = 1,
		.driver_version = 13000,
		.mps_percentage = 100,
		.slice_us = 1000,
		.kernel_count = 1,
		.kernels = {{.name = "*", .block_ns = 10000}},
	};
	for (uint32_t i = 0; i < WIRE_MAX_DEVICES; i++) {
		settings->devices[i] = (struct device_settings){
			.name = "simgpu",
			.memory_bytes = 16 * GIB,
			.granularity_bytes = 512,
			.context_bytes = UINT64_C(64) << 20,
			.pool_chunk_bytes = UINT64_C(2) << 20,
			.sm_count = 132,
			.cc_major = 9,
		};
		make_uuid(settings->devices[i].uuid, place, i);
	}
}

/* Reads `text` as the type of the key says, into a copy of the value's place. */
static bool read_value(const struct key *key, const char *text, void *place, char *reason)
{
	uint64_t number;
	bool is_bytes = key->type == KEY_BYTES;
	if (key->type == KEY_NAME)
		return value_read_name(text, place, WIRE_NAME_LEN, reason);
	if (key->type == KEY_UUID)
		return value_read_uuid(text, place, reason);
	if (key->type == KEY_LEAKS)
		return value_read_bits(text, leaks, place, reason);
	if (key->type == KEY_CAPABILITY)
		return value_read_capability(text, place, (uint32_t *)place + 1, reason);
	if (is_bytes ? !value_read_bytes(text, &number, reason)
		     : !value_read_number(text, &number, reason))
		return false;
	if (number < key->min || number > key->max) {
		snprintf(reason, VALUE_REASON_LEN, "not from %llu to %llu%s",
			(unsigned long long)key->min, (unsigned long long)key->max,
			is_bytes ? " bytes" : "");
		return false;
	}
	if (key->type == KEY_NUMBER)
		*(uint32_t *)place = (uint32_t)number;
	else
		*(uint64_t *)place = number;
	return true;
}
static_assert(offsetof(struct device_settings, cc_minor) ==
		      offsetof(struct device_settings, cc_major) + sizeof(uint32_t),
	"read_value writes both at once");

static const struct key *find_key(const char *name)
{
	for (size_t i = 0; i < KEY_COUNT; i++) {
		if (strcmp(keys[i].name, name) == 0)
			return &keys[i];
	}
	return NULL;
}

/* A key without a device is that of all devices for which the key was not set alone. */
static bool set_all_devices(
	struct settings *settings, const struct key *key, const char *text, char *reason)
{
	struct settings changed = *settings;
	uint32_t bit = 1u << (key - keys);
	for (uint32_t i = 0; i < WIRE_MAX_DEVICES; i++) {
		struct device_settings *device = &changed.devices[i];
		if (device->own & bit)
			continue;
		if (!read_value(key, text, (char *)device + key->offset, reason))
			return false;
	}
	*settings = changed;
	return true;
}

/* The `N` and what follows of "device.N.key"; NULL if it is not of that form. */
static const char *split_device_key(const char *name, uint32_t *ret_device)
{
	char *rest;
	if (strncmp(name, "device.", 7) != 0 || name[7] < '0' || name[7] > '9')
		return NULL;
	unsigned long device = strtoul(name + 7, &rest, 10);
	if (*rest != '.' || device >= WIRE_MAX_DEVICES)
		return NULL;
	*ret_device = (uint32_t)device;
	return rest + 1;
}

static bool set_kernel(struct settings *settings, const char *name, const char *text, char *reason)
{
	static const char suffix[] = ".bandwidth";
	struct wire_kernel_time time = {.block_ns = WIRE_KERNEL_AS_ALL};
	char kernel[LINE_LEN];
	uint32_t at = 0;
	size_t len = strlen(name);
	bool is_bandwidth = len > strlen(suffix) && !strcmp(name + len - strlen(suffix), suffix);

	snprintf(kernel, sizeof(kernel), "%.*s", (int)(is_bandwidth ? len - strlen(suffix) : len),
		name);
	if (!value_read_name(kernel, time.name, sizeof(time.name), reason))
		return false;
	while (at < settings->kernel_count && strcmp(settings->kernels[at].name, kernel) != 0)
		at++;
	if (at < settings->kernel_count)
		time = settings->kernels[at];
	if (is_bandwidth ? !value_read_part(text, &time.bandwidth_ppm, reason)
			 : !value_read_duration(text, &time.block_ns, reason))
		return false;
	if (at == WIRE_MAX_KERNELS) {
		snprintf(reason, VALUE_REASON_LEN, "more than %d kernels", WIRE_MAX_KERNELS);
		return false;
	}
	settings->kernels[at] = time;
	if (at == settings->kernel_count)
		settings->kernel_count++;
	return true;
}

static bool set_key(
	struct settings *settings, const char *name, const char *text, bool is_live, char *reason)
{
	uint32_t device = 0;
	const char *device_key = split_device_key(name, &device);
	const struct key *key = find_key(device_key ? device_key : name);

	if (strncmp(name, "kernel.", 7) == 0)
		return set_kernel(settings, name + 7, text, reason);
	if (!key || (device_key && !key->is_of_device)) {
		snprintf(reason, VALUE_REASON_LEN, "there is no such key");
		return false;
	}
	if (is_live && !key->is_live) {
		snprintf(reason, VALUE_REASON_LEN, "cannot be changed while the machine runs");
		return false;
	}
	if (!key->is_of_device)
		return read_value(key, text, (char *)settings + key->offset, reason);
	if (!device_key)
		return set_all_devices(settings, key, text, reason);
	settings->devices[device].own |= 1u << (key - keys);
	return read_value(key, text, (char *)&settings->devices[device] + key->offset, reason);
}

bool settings_set(struct settings *settings, const char *assignment, bool is_live, char *ret_error)
{
	char name[LINE_LEN], reason[VALUE_REASON_LEN];
	struct settings changed = *settings;
	const char *equals = strchr(assignment, '=');
	if (!equals || equals == assignment)
		return refuse(ret_error, "\"%.128s\": not of the form key=value", assignment);
	if ((size_t)(equals - assignment) >= sizeof(name))
		return refuse(ret_error, "\"%.128s...\": the key is too long", assignment);
	snprintf(name, sizeof(name), "%.*s", (int)(equals - assignment), assignment);
	if (!set_key(&changed, name, equals + 1, is_live, reason))
		return refuse(ret_error, "%.128s=\"%.128s\": %s", name, equals + 1, reason);
	if (is_live && !settings_check(&changed, ret_error))
		return false;
	*settings = changed;
	return true;
}

/* The line without blanks around it. */
static char *trim(char *line)
{
	line += strspn(line, " \t");
	size_t len = strlen(line);
	while (len > 0 && strchr(" \t\r\n", line[len - 1]))
		line[--len] = '\0';
	return line;
}

bool settings_read_file(struct settings *settings, const char *path, char *ret_error)
{
	char line[LINE_LEN], error[SETTINGS_ERROR_LEN];
	bool is_good = true;
	FILE *file = fopen(path, "re");
	if (!file)
		return refuse(ret_error, "\"%.128s\": %s", path, strerror(errno));
	for (int number = 1; is_good && fgets(line, sizeof(line), file); number++) {
		if (strlen(line) == sizeof(line) - 1) {
			is_good =
				refuse(ret_error, "%.128s:%d: the line is too long", path, number);
			break;
		}
		const char *text = trim(line);
		if (text[0] == '\0' || text[0] == '#')
			continue;
		is_good = settings_set(settings, text, false, error);
		if (!is_good)
			refuse(ret_error, "%.128s:%d: %.340s", path, number, error);
	}
	fclose(file);
	return is_good;
}

bool settings_check(const struct settings *settings, char *ret_error)
{
	for (uint32_t i = settings->device_count; i < WIRE_MAX_DEVICES; i++) {
		if (settings->devices[i].own)
			return refuse(ret_error, "device.%u: the machine has %u device%s", i,
				settings->device_count, settings->device_count == 1 ? "" : "s");
	}
	return true;
}
