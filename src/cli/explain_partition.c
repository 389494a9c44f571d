/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "cli/explain_partition.h"
#include "base/compiler.h"
#include "base/units.h"
#include "cli/explain_mechanism.h"
#include "cli/json.h"
#include "driver/elf_image.h"
#include "partition/rules.h"

#include <dlfcn.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The driver's functions, by their names in libcuda. */
struct asked_driver {
	__typeof__(cuInit) *init;
	__typeof__(cuDriverGetVersion) *get_version;
	__typeof__(cuDeviceGetCount) *get_count;
	__typeof__(cuDeviceGetName) *get_name;
	__typeof__(cuDeviceGetUuid) *get_uuid;
	struct partition_oracle oracle;
};

struct gpu {
	unsigned number; /* nvidia-smi's */
	char name[100];
	uint32_t ppm; /* of the share */
	unsigned sms;
	struct partition_choice choice;
};

/* NULL, or why it cannot be asked. An older one tells no resource, and is asked without. Not by
 * dlsym(): where explain itself is in a slice, that leads through the hooks, and they tell of the
 * slice as if it were the device. */
static const char *find_functions(void *library, struct asked_driver *ret_driver)
{
	struct link_map *map = NULL;
	struct elf_image image;
	const struct {
		const char *name;
		void *place;
	} rows[] = {
		{"cuInit", &ret_driver->init},
		{"cuDriverGetVersion", &ret_driver->get_version},
		{"cuDeviceGetCount", &ret_driver->get_count},
		{"cuDeviceGetName", &ret_driver->get_name},
		{"cuDeviceGetUuid", &ret_driver->get_uuid},
		{"cuDeviceGetAttribute", &ret_driver->oracle.get_attribute},
	};

	if (dlinfo(library, RTLD_DI_LINKMAP, &map) != 0 ||
		!elf_image_from_dynamic(map->l_addr, map->l_ld, &image))
		return "libcuda.so.1 cannot be read";
	for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
		*(void **)rows[i].place = elf_image_find(&image, rows[i].name);
		if (*(void **)rows[i].place == NULL)
			return "libcuda.so.1 is no driver that has partitions";
	}
	*(void **)&ret_driver->oracle.get_resource =
		elf_image_find(&image, "cuDeviceGetDevResource");
	return NULL;
}

/* NULL, or why nobody can be asked. */
static const char *open_driver(struct asked_driver *ret_driver)
{
	int version = 0;

	void *library = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL);
	if (library == NULL)
		return "no libcuda.so.1 here to ask";
	const char *reason = find_functions(library, ret_driver);
	if (reason != NULL)
		return reason;
	(void)ret_driver->get_version(&version);
	if (version < PARTITION_OLDEST_DRIVER)
		return "the driver is older than CUDA 12.5, and has none; time keeps the share";
	unsetenv("CUDA_VISIBLE_DEVICES");
	if (setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID", 1) != 0 ||
		ret_driver->init(0) != CUDA_SUCCESS)
		return "the driver does not start here";
	return NULL;
}

static uint32_t share_of(
	const struct config *config, const struct config_device *device, unsigned sms)
{
	uint32_t least_ppm = PPM_WHOLE;

	for (unsigned i = 0; i < config->value_count; i++) {
		const struct config_value *value = &config->values[i];
		if (value->key != CONFIG_COMPUTE || !config_value_counts(config, value, device))
			continue;
		uint32_t ppm = units_resolve_share(value->compute, sms);
		if (ppm < least_ppm)
			least_ppm = ppm;
	}
	return least_ppm;
}

/* False where the device's share is kept otherwise. */
static bool look_at(const struct config *config, const struct asked_driver *driver, unsigned number,
	struct gpu *ret_gpu)
{
	struct config_device identity = {.number = (int)number, .uuid_count = 1};
	struct gpu gpu = {.number = number};
	CUuuid uuid;
	int sms = 0;

	if (driver->get_uuid(&uuid, (CUdevice)number) != CUDA_SUCCESS ||
		driver->get_name(gpu.name, sizeof(gpu.name), (CUdevice)number) != CUDA_SUCCESS ||
		driver->oracle.get_attribute(&sms, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT,
			(CUdevice)number) != CUDA_SUCCESS ||
		sms <= 0)
		return false;
	memcpy(identity.uuids[0], uuid.bytes, CONFIG_UUID_LEN);
	struct explained_mechanism kept = explain_mechanism(config, &identity);
	if (kept.name == NULL ||
		(kept.mechanism != MECHANISM_SM && kept.mechanism != MECHANISM_BOTH))
		return false;
	gpu.sms = (unsigned)sms;
	gpu.ppm = share_of(config, &identity, gpu.sms);
	struct partition_rules rules =
		partition_rules_ask(&driver->oracle, (CUdevice)number, gpu.sms);
	gpu.choice = partition_choose(&rules, gpu.ppm, kept.mechanism == MECHANISM_BOTH);
	*ret_gpu = gpu;
	return gpu.ppm < PPM_WHOLE;
}

/* Calls `show` for each device with a partition. NULL, or why that is not known. */
static const char *for_each_gpu(const struct config *config, void (*show)(const struct gpu *gpu))
{
	struct asked_driver driver = {.oracle = {NULL, NULL}};
	struct gpu gpu;
	int count = 0;

	const char *reason = open_driver(&driver);
	if (reason != NULL)
		return reason;
	if (driver.get_count(&count) != CUDA_SUCCESS || count == 0)
		return "the driver shows no device";
	for (unsigned i = 0; i < (unsigned)count && i < CONFIG_MAX_DEVICES; i++) {
		if (look_at(config, &driver, i, &gpu))
			show(&gpu);
	}
	return NULL;
}

static void print_title(void)
{
	static bool is_printed;

	if (!is_printed)
		printf("partitions\n");
	is_printed = true;
}

static void print_gpu(const struct gpu *gpu)
{
	const struct partition_choice *choice = &gpu->choice;

	print_title();
	printf("  GPU %-5u ", gpu->number);
	if (choice->sm_count == gpu->sms)
		printf("none, for the size next to the share is all %u SMs; time keeps it",
			gpu->sms);
	else
		printf("%u of %u SMs, %u.%u %% of the time; %u blocks, one an SM, take %u waves",
			choice->sm_count, gpu->sms, choice->duty_ppm / 10000,
			choice->duty_ppm / 1000 % 10, gpu->sms, choice->waves);
	printf(" (%s)\n", gpu->name);
}

void explain_partition_print(const struct config *config)
{
	if (!config_wants_partition(config, false))
		return;
	const char *reason = for_each_gpu(config, print_gpu);
	if (reason == NULL)
		return;
	print_title();
	printf("  not known: %s\n", reason);
}

static void json_gpu(const struct gpu *gpu)
{
	json_begin(NULL, '{');
	json_number("gpu", gpu->number);
	json_string("name", gpu->name);
	json_number("share_ppm", gpu->ppm);
	json_number("sms", gpu->choice.sm_count);
	json_number("of_sms", gpu->sms);
	json_number("duty_ppm", gpu->choice.duty_ppm);
	json_number("waves", gpu->choice.waves);
	json_end('}');
}

void explain_partition_json(const struct config *config)
{
	const char *reason = NULL;

	json_begin("partitions", '[');
	if (config_wants_partition(config, false))
		reason = for_each_gpu(config, json_gpu);
	json_end(']');
	if (reason != NULL)
		json_string("partitions_unknown", reason);
}
