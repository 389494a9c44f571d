/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "cli/explain_native.h"
#include "base/units.h"
#include "cli/json.h"
#include "cli/native_limits.h"
#include "partition/mps.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

/* Tests have files of their own. */
#ifndef NATIVE_CGROUP_ROOT
#define NATIVE_CGROUP_ROOT "/sys/fs/cgroup"
#define NATIVE_CGROUP_FILE "/proc/self/cgroup"
#endif

#define MIB UINT64_C(1048576)

/* What the container's runtime is asked to set (nvidia-container-toolkit, from 1.20.1 on): MiB. */
static const char *const asked_names[] = {"NVIDIA_GPU_MEMORY_LIMIT", "NVIDIA_GPU_MEMORY_REQUEST"};

/* What MPS is asked to let each client hold: DEVICE=SIZE, in a list. */
#define PINNED_LIMIT "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"

static struct native_limits by_kernel, by_nvml;

static void look(void)
{
	char folder[NATIVE_PATH_LEN];

	by_kernel.count = by_nvml.count = 0;
	if (!native_cgroup_find(NATIVE_CGROUP_FILE, NATIVE_CGROUP_ROOT, folder))
		return;
	native_limits_of_cgroup(NATIVE_CGROUP_ROOT, folder, &by_kernel);
	native_limits_of_nvml(folder, &by_nvml);
}

/* 0 where the variable is not set, or is no number of MiB. */
static uint64_t asked_bytes(const char *name)
{
	const char *text = getenv(name);
	char *end;

	if (text == NULL || *text < '0' || *text > '9')
		return 0;
	unsigned long long mib = strtoull(text, &end, 10);
	return *end == '\0' && mib <= UINT64_MAX / MIB ? mib * MIB : 0;
}

static void print_limit(const struct native_limit *limit)
{
	char used[80] = "";

	if (limit->knows_used)
		snprintf(used, sizeof(used), ", %s used",
			units_format_bytes(limit->used_bytes).text);
	printf("  %-9s %-12s %s%s, by %s\n", "hard", units_format_bytes(limit->hard_bytes).text,
		limit->device, used, *limit->file == '\0' ? "NVML" : limit->file);
	if (limit->soft_bytes != 0)
		printf("  %-9s %s\n", "soft", units_format_bytes(limit->soft_bytes).text);
}

static void print_asked(const char *name)
{
	const char *text = getenv(name);
	uint64_t bytes = asked_bytes(name);

	if (text == NULL)
		return;
	if (bytes == 0)
		printf("  %-9s %-12s %s=\"%.60s\", which is no whole number of MiB\n", "asked", "-",
			name, text);
	else
		printf("  %-9s %-12s %s, in MiB, of the container's runtime\n", "asked",
			units_format_bytes(bytes).text, name);
}

static void print_pinned(void)
{
	const char *text = getenv(PINNED_LIMIT);

	if (text == NULL)
		return;
	struct mps_daemon found = mps_find(getenv("CUDA_MPS_PIPE_DIRECTORY"));
	printf("  %-9s %-12.60s %s; %s%s\n", "asked", text, PINNED_LIMIT, found.text,
		found.is_there ? " keeps it for each of its clients, beside the quota" : "");
}

void explain_native_print(void)
{
	bool is_asked = getenv(asked_names[0]) != NULL || getenv(asked_names[1]) != NULL ||
			getenv(PINNED_LIMIT) != NULL;

	look();
	unsigned count = by_kernel.count + by_nvml.count;
	if (count == 0 && !is_asked)
		return;
	printf("the driver's own limits of memory\n");
	for (unsigned i = 0; i < by_kernel.count; i++)
		print_limit(&by_kernel.limits[i]);
	for (unsigned i = 0; i < by_nvml.count; i++)
		print_limit(&by_nvml.limits[i]);
	for (unsigned i = 0; i < 2; i++)
		print_asked(asked_names[i]);
	print_pinned();
	if (count > 0)
		printf("  they hold beside the quota, which is made without them; the lesser "
		       "refuses first\n");
	else if (asked_bytes(asked_names[0]) != 0)
		printf("  nothing shows that it was set; CUSLICE_MEMORY=%" PRIu64
		       "MiB would be kept by cuslice\n",
			asked_bytes(asked_names[0]) / MIB);
}

static void json_limit(const struct native_limit *limit)
{
	json_begin(NULL, '{');
	json_string("by", *limit->file == '\0' ? "nvml" : "cgroup");
	json_string("device", limit->device);
	json_number("hard_bytes", limit->hard_bytes);
	if (limit->soft_bytes != 0)
		json_number("soft_bytes", limit->soft_bytes);
	if (limit->knows_used)
		json_number("used_bytes", limit->used_bytes);
	if (*limit->file != '\0')
		json_string("file", limit->file);
	json_end('}');
}

void explain_native_json(void)
{
	look();
	json_begin("driver_limits", '[');
	for (unsigned i = 0; i < by_kernel.count; i++)
		json_limit(&by_kernel.limits[i]);
	for (unsigned i = 0; i < by_nvml.count; i++)
		json_limit(&by_nvml.limits[i]);
	for (unsigned i = 0; i < 2; i++) {
		if (asked_bytes(asked_names[i]) == 0)
			continue;
		json_begin(NULL, '{');
		json_string("by", "asked");
		json_string("variable", asked_names[i]);
		json_number(i == 0 ? "hard_bytes" : "soft_bytes", asked_bytes(asked_names[i]));
		json_end('}');
	}
	if (getenv(PINNED_LIMIT) != NULL) {
		json_begin(NULL, '{');
		json_string("by", "asked");
		json_string("variable", PINNED_LIMIT);
		json_string("value", getenv(PINNED_LIMIT));
		json_end('}');
	}
	json_end(']');
}
