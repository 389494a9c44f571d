/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "unit.h"
#include "test_config_tree.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEVICE_BYTES (16ull << 30)
#define DEVICE_SMS   100

struct config config;
static char root[64];

const char *tree_path(const char *name)
{
	static char paths[4][600];
	static unsigned next;

	char *path = paths[next++ % 4];
	snprintf(path, sizeof(paths[0]), "%s/%s", root, name);
	return path;
}

int tree_make(void **state)
{
	(void)state;
	snprintf(root, sizeof(root), "/tmp/cuslice-config-XXXXXX");
	if (mkdtemp(root) == NULL)
		return -1;
	return chmod(root, 0755) | mkdir(tree_path("policy"), 0755);
}

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *where)
{
	(void)info;
	(void)type;
	(void)where;
	return remove(path);
}

int tree_remove(void **state)
{
	(void)state;
	return nftw(root, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

void tree_write_bytes(const char *name, const char *bytes, size_t len)
{
	FILE *file = fopen(tree_path(name), "w");

	assert_non_null(file);
	assert_int_equal(fwrite(bytes, 1, len, file), len);
	assert_int_equal(fclose(file), 0);
}

void tree_write(const char *name, const char *text)
{
	tree_write_bytes(name, text, strlen(text));
}

void tree_read(char *const environment[])
{
	config_read_from(environment, tree_path("policy"), false, &config);
}

uint64_t tree_memory(const struct config_device *device)
{
	uint64_t least = 0;

	for (unsigned i = 0; i < config.value_count; i++) {
		const struct config_value *value = &config.values[i];
		if (value->key != CONFIG_MEMORY || !config_value_counts(&config, value, device))
			continue;
		uint64_t bytes = units_resolve_size(value->memory, DEVICE_BYTES);
		if (least == 0 || bytes < least)
			least = bytes;
	}
	return least;
}

uint32_t tree_compute(const struct config_device *device)
{
	uint32_t least = 0;

	for (unsigned i = 0; i < config.value_count; i++) {
		const struct config_value *value = &config.values[i];
		if (value->key != CONFIG_COMPUTE || !config_value_counts(&config, value, device))
			continue;
		uint32_t ppm = units_resolve_share(value->compute, DEVICE_SMS);
		if (least == 0 || ppm < least)
			least = ppm;
	}
	return least;
}

uint64_t tree_burst(const struct config_device *device)
{
	uint64_t least = 0;

	for (unsigned i = 0; i < config.value_count; i++) {
		const struct config_value *value = &config.values[i];
		if (value->key == CONFIG_BURST && config_value_counts(&config, value, device) &&
			(least == 0 || value->burst_ns < least))
			least = value->burst_ns;
	}
	return least;
}
