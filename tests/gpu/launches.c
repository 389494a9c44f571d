/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * usage: gpu-launches partitions | here | dynamic FILE | dynamic-first FILE
 *
 * Launches whose blocks have to run at a time, or that overlap: cooperative ones, clusters of 8 and
 * 16, programmatic dependent launches. `partitions`: in green contexts of half of the SMs, of just
 * half of them, and of a tenth; the last two without co-scheduling. `here`: in streams of the
 * program; to be run in a slice, too. `dynamic`: on how many SMs kernels run before and after FILE
 * is loaded, a module with dynamic parallelism; `dynamic-first`: it is loaded before any work.
 */
#include "census.h"
#include "green.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CLUSTER_THREADS 1024u
#define CLUSTER_CYCLES  20000u
#define LEAD_CYCLES     20000u
#define PAIRS           64u
#define FINE            CU_DEV_SM_RESOURCE_SPLIT_IGNORE_SM_COSCHEDULING

extern const char kernels_ptx[]; /* launches.ptx */

static struct {
	CUfunction cluster, lead, follow; /* NULL before compute capability 9.0 */
	CUdeviceptr counts;               /* what ran, and what of it was wrong */
	CUdeviceptr cell;
} launches;

static void open_launches(void)
{
	CUmodule module;
	int major;

	MUST(cuDeviceGetAttribute(&major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, 0));
	probe_say("compute_capability", "%d", major);
	MUST(cuMemAlloc(&launches.counts, 2 * sizeof(unsigned)));
	MUST(cuMemAlloc(&launches.cell, sizeof(unsigned)));
	if (major < 9)
		return;
	MUST(cuModuleLoadData(&module, kernels_ptx));
	MUST(cuModuleGetFunction(&launches.cluster, module, "gpu_cluster"));
	MUST(cuModuleGetFunction(&launches.lead, module, "gpu_lead"));
	MUST(cuModuleGetFunction(&launches.follow, module, "gpu_follow"));
	MUST(cuFuncSetAttribute(
		launches.cluster, CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED, 1));
}

static void say(const char *where, const char *what, unsigned value)
{
	char name[64];

	snprintf(name, sizeof(name), "%s_%s", where, what);
	probe_say(name, "%u", value);
}

static void say_result(const char *where, const char *what, CUresult result)
{
	char name[64];

	snprintf(name, sizeof(name), "%s_%s", where, what);
	probe_say_result(name, result);
}

static void clear_counts(void)
{
	MUST(cuMemsetD8(launches.counts, 0, 2 * sizeof(unsigned)));
	MUST(cuMemsetD8(launches.cell, 0, sizeof(unsigned)));
	MUST(cuCtxSynchronize());
}

static void say_counts(const char *where, const char *what)
{
	unsigned counts[2];
	char name[64];

	MUST(cuMemcpyDtoH(counts, launches.counts, sizeof(counts)));
	snprintf(name, sizeof(name), "%s_ran", what);
	say(where, name, counts[0]);
	snprintf(name, sizeof(name), "%s_wrong", what);
	say(where, name, counts[1]);
}

/* As large as it may be, and one block larger. */
static void tell_cooperative(const char *where, CUstream stream, unsigned sms)
{
	census_take();
	CUresult result = census_launch_cooperative(stream, sms, 0);
	say_result(where, "cooperative", result);
	say(where, "cooperative_ran_on", census_take());
	say_result(where, "cooperative_over", census_launch_cooperative(stream, sms, 1));
}

static CUlaunchConfig config_of(
	unsigned blocks, unsigned threads, CUstream stream, CUlaunchAttribute *attribute)
{
	return (CUlaunchConfig){.gridDimX = blocks,
		.gridDimY = 1,
		.gridDimZ = 1,
		.blockDimX = threads,
		.blockDimY = 1,
		.blockDimZ = 1,
		.hStream = stream,
		.attrs = attribute,
		.numAttrs = attribute != NULL ? 1 : 0};
}

/* Twice as many clusters as the driver says that there is room for; where there is none, four,
 * which it has to refuse. */
static void tell_clusters(const char *where, CUstream stream, unsigned size)
{
	CUlaunchAttribute attribute = {.id = CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION};
	unsigned cycles = CLUSTER_CYCLES;
	void *params[] = {&census.seen, &launches.counts, &size, &cycles};
	char what[32], name[64];
	int room = 0;

	attribute.value.clusterDim.x = size;
	attribute.value.clusterDim.y = attribute.value.clusterDim.z = 1;
	CUlaunchConfig config = config_of(size, CLUSTER_THREADS, stream, &attribute);
	snprintf(what, sizeof(what), "cluster%u", size);
	snprintf(name, sizeof(name), "%s_asked", what);
	say_result(where, name, cuOccupancyMaxActiveClusters(&room, launches.cluster, &config));
	snprintf(name, sizeof(name), "%s_room", what);
	say(where, name, (unsigned)room);
	clear_counts();
	config.gridDimX = size * (room > 0 ? 2 * (unsigned)room : 4);
	CUresult result = cuLaunchKernelEx(&config, launches.cluster, params, NULL);
	if (result == CUDA_SUCCESS)
		result = cuStreamSynchronize(stream);
	say_result(where, what, result);
	snprintf(name, sizeof(name), "%s_ran_on", what);
	say(where, name, census_take());
	snprintf(name, sizeof(name), "%s_blocks", what);
	say(where, name, config.gridDimX);
	say_counts(where, what);
}

/* Pairs of which the second may start when the first says so, and has to find what that wrote. */
static void tell_dependent(const char *where, CUstream stream)
{
	CUlaunchAttribute attribute = {.id = CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION,
		.value.programmaticStreamSerializationAllowed = 1};
	CUlaunchConfig config = config_of(1, 1, stream, &attribute);
	unsigned cycles = LEAD_CYCLES, number;
	void *lead[] = {&launches.cell, &number, &cycles};
	void *follow[] = {&launches.cell, &number, &launches.counts, &census.seen};
	CUresult result = CUDA_SUCCESS;

	clear_counts();
	for (number = 1; number <= PAIRS && result == CUDA_SUCCESS; number++) {
		MUST(cuLaunchKernel(launches.lead, 1, 1, 1, 1, 1, 1, 0, stream, lead, NULL));
		result = cuLaunchKernelEx(&config, launches.follow, follow, NULL);
	}
	say_result(where, "dependent", result);
	say(where, "dependent_ran_on", census_take());
	say_counts(where, "dependent");
}

/* On `sms` SMs, where `stream` has its work done. */
static void tell_launches(const char *where, CUstream stream, unsigned sms)
{
	say(where, "sms", sms);
	tell_cooperative(where, stream, sms);
	if (launches.cluster != NULL) {
		tell_clusters(where, stream, 8);
		tell_clusters(where, stream, 16);
		tell_dependent(where, stream);
	}
	/* What was refused has broken nothing. */
	MUST(census_launch(stream));
	say(where, "afterwards_ran_on", census_take());
}

static void tell_partition(const char *where, unsigned wanted, unsigned flags)
{
	unsigned sms;
	CUgreenCtx green = green_make(wanted, flags, 0, &sms);

	if (green == NULL)
		return;
	CUstream stream = green_stream(green);
	tell_launches(where, stream, sms);
	MUST(cuStreamDestroy(stream));
	green_destroy(green);
}

static void tell_partitions(void)
{
	unsigned all = green_sms_of_device();

	tell_partition("half", green_half(), 0);
	tell_partition("fine_half", all / 4 * 2, FINE);
	tell_partition("fine_tenth", (all + 19) / 20 * 2, FINE);
}

static void tell_here(void)
{
	CUstream stream;

	MUST(census_launch(NULL));
	say("here", "default_ran_on", census_take());
	MUST(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
	tell_launches("here", stream, census.sms);
	MUST(cuStreamDestroy(stream));
}

static char *read_file(const char *path)
{
	FILE *file = fopen(path, "rb");
	long size = -1;
	char *content = NULL;

	if (file != NULL && fseek(file, 0, SEEK_END) == 0)
		size = ftell(file);
	if (size >= 0)
		content = calloc(1, (size_t)size + 1);
	if (content == NULL || fseek(file, 0, SEEK_SET) != 0 ||
		fread(content, 1, (size_t)size, file) != (size_t)size) {
		fprintf(stderr, "%s cannot be read\n", path);
		exit(2);
	}
	fclose(file);
	return content;
}

static CUmodule load_file(const char *path)
{
	char *content = read_file(path);
	CUmodule module;

	MUST(cuModuleLoadData(&module, content));
	free(content);
	return module;
}

static void tell_ran_on(const char *when)
{
	CUstream stream;
	char name[64];

	MUST(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
	MUST(census_launch(NULL));
	snprintf(name, sizeof(name), "%s_default", when);
	probe_say(name, "%u", census_take());
	MUST(census_launch(stream));
	snprintf(name, sizeof(name), "%s_stream", when);
	probe_say(name, "%u", census_take());
	MUST(cuStreamDestroy(stream));
}

/* A simulated GPU has no kernels that launch kernels. */
static void tell_child(CUmodule module)
{
	unsigned blocks = 8 * census.sms, cycles = LEAD_CYCLES, refused = 0;
	void *params[] = {&census.seen, &blocks, &cycles, &launches.counts};
	CUfunction parent;

	if (cuModuleGetFunction(&parent, module, "gpu_parent") != CUDA_SUCCESS)
		return;
	clear_counts();
	MUST(cuLaunchKernel(parent, 1, 1, 1, 1, 1, 1, 0, NULL, params, NULL));
	MUST(cuCtxSynchronize());
	MUST(cuMemcpyDtoH(&refused, launches.counts, sizeof(refused)));
	probe_say("child_error", "%u", refused);
	probe_say("child", "%u", census_take());
}

/* module  NULL: to be loaded between */
static void tell_dynamic(const char *path, CUmodule module)
{
	int told;

	tell_ran_on("before");
	if (module == NULL)
		module = load_file(path);
	tell_ran_on("after");
	tell_child(module);
	/* A slice that has given its partition up tells of all SMs again. */
	MUST(cuDeviceGetAttribute(&told, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, 0));
	probe_say("told_afterwards", "%d", told);
}

int main(int argc, char *argv[])
{
	const char *what = argc > 1 ? argv[1] : "";
	CUmodule module = NULL;

	probe_open();
	if (strcmp(what, "dynamic-first") == 0 && argc == 3)
		module = load_file(argv[2]);
	census_open();
	open_launches();
	if (strcmp(what, "partitions") == 0)
		tell_partitions();
	else if (strcmp(what, "here") == 0)
		tell_here();
	else if (strncmp(what, "dynamic", 7) == 0 && argc == 3)
		tell_dynamic(argv[2], module);
	else
		return 2;
	return 0;
}
