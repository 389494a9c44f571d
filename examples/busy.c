/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * busy: keeps a GPU busy and says how fast it went. Two of them side by side show their shares.
 *
 *	busy [--seconds S] [--mode sync|queue|graph] [--kernel-us N] [--device N]
 *
 *	sync   one kernel at a time, waited for before the next
 *	queue  up to 64 kernels ahead of the GPU
 *	graph  graphs of 16 kernels, up to 4 graphs ahead
 *
 * The last line is "rate=" and the kernels of a second. Exit status: 0, 1 on a CUDA error, 2 if the
 * arguments are not understood.
 */
#include <getopt.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "device.h"

#define THREADS       256u
#define GRAPH_KERNELS 16u
#define DEPTH_MAX     64u

struct load {
	CUstream stream;
	CUfunction kernel;
	CUgraphExec graph; /* NULL: single kernels */
	uint64_t cycles;
	unsigned int blocks;
	unsigned int depth;      /* launches ahead of the GPU */
	CUevent done[DEPTH_MAX]; /* of the last `depth` launches */
};

struct arguments {
	const char *mode;
	unsigned long long seconds, kernel_us;
	int device;
};

static void read_option(struct arguments *arguments, int option)
{
	switch (option) {
	case 's':
		arguments->seconds = number_option("seconds", optarg, 1, 1000000);
		break;
	case 'k':
		arguments->kernel_us = number_option("kernel-us", optarg, 1, 10000000);
		break;
	case 'd':
		arguments->device = (int)number_option("device", optarg, 0, 1000);
		break;
	case 'm':
		arguments->mode = optarg;
		if (strcmp(optarg, "sync") == 0 || strcmp(optarg, "queue") == 0 ||
			strcmp(optarg, "graph") == 0)
			break;
		fprintf(stderr, "--mode \"%s\": not sync, queue or graph\n", optarg);
		exit(2);
	default:
		exit(2);
	}
}

static struct arguments read_arguments(int argc, char **argv)
{
	static const struct option options[] = {
		{"seconds", required_argument, NULL, 's'},
		{"mode", required_argument, NULL, 'm'},
		{"kernel-us", required_argument, NULL, 'k'},
		{"device", required_argument, NULL, 'd'},
		{0},
	};
	struct arguments arguments = {.mode = "queue", .seconds = 5, .kernel_us = 1000};
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
		read_option(&arguments, option);
	if (optind < argc) {
		fprintf(stderr, "busy: \"%s\": unexpected\n", argv[optind]);
		exit(2);
	}
	return arguments;
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void launch_kernel(const struct load *load)
{
	uint64_t cycles = load->cycles;
	void *params[] = {&cycles};

	must(cuLaunchKernel(load->kernel, load->blocks, 1, 1, THREADS, 1, 1, 0, load->stream,
		     params, NULL),
		"cuLaunchKernel");
}

static CUgraphExec make_graph(const struct load *load)
{
	CUgraph graph;
	CUgraphExec executable;

	must(cuStreamBeginCapture(load->stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL),
		"cuStreamBeginCapture");
	for (unsigned int i = 0; i < GRAPH_KERNELS; i++)
		launch_kernel(load);
	must(cuStreamEndCapture(load->stream, &graph), "cuStreamEndCapture");
	must(cuGraphInstantiate(&executable, graph, 0), "cuGraphInstantiate");
	must(cuGraphDestroy(graph), "cuGraphDestroy");
	return executable;
}

/* A block for each SM: the whole device works for as long as one block does. */
static void load_open(
	struct load *load, const struct device *device, const struct arguments *arguments)
{
	int clock_khz = device_attribute(device, CU_DEVICE_ATTRIBUTE_CLOCK_RATE);

	*load = (struct load){
		.kernel = device_kernel(device, "spin"),
		.cycles = arguments->kernel_us * (unsigned int)clock_khz / 1000,
		.blocks = (unsigned int)device_attribute(
			device, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT),
		.depth = 1,
	};
	must(cuStreamCreate(&load->stream, CU_STREAM_NON_BLOCKING), "cuStreamCreate");
	if (strcmp(arguments->mode, "queue") == 0)
		load->depth = DEPTH_MAX;
	if (strcmp(arguments->mode, "graph") == 0) {
		load->depth = 4;
		load->graph = make_graph(load);
	}
	for (unsigned int i = 0; i < load->depth; i++)
		must(cuEventCreate(&load->done[i], CU_EVENT_DISABLE_TIMING), "cuEventCreate");
}

static void load_close(struct load *load)
{
	for (unsigned int i = 0; i < load->depth; i++)
		must(cuEventDestroy(load->done[i]), "cuEventDestroy");
	if (load->graph)
		must(cuGraphExecDestroy(load->graph), "cuGraphExecDestroy");
	must(cuStreamDestroy(load->stream), "cuStreamDestroy");
}

/* Launch number `count`, and wait until at most depth - 1 are in flight. */
static void launch(const struct load *load, unsigned long long count)
{
	if (load->graph)
		must(cuGraphLaunch(load->graph, load->stream), "cuGraphLaunch");
	else
		launch_kernel(load);
	must(cuEventRecord(load->done[count % load->depth], load->stream), "cuEventRecord");
	/* The oldest; one that was never recorded is done. */
	must(cuEventSynchronize(load->done[(count + 1) % load->depth]), "cuEventSynchronize");
}

int main(int argc, char **argv)
{
	struct arguments arguments = read_arguments(argc, argv);
	struct device device;
	struct load load;
	unsigned long long launches = 0;

	device_open(&device, arguments.device);
	load_open(&load, &device, &arguments);
	double start = now();
	double end = start + (double)arguments.seconds;
	while (now() < end)
		launch(&load, launches++);
	must(cuStreamSynchronize(load.stream), "cuStreamSynchronize");
	double elapsed = now() - start;
	unsigned int kernels_per_launch = load.graph ? GRAPH_KERNELS : 1;
	double kernels = (double)launches * kernels_per_launch;
	printf("%llu launches of %u kernel%s in %.3f s\n", launches, kernels_per_launch,
		kernels_per_launch == 1 ? "" : "s", elapsed);
	printf("rate=%.1f\n", kernels / elapsed);
	load_close(&load);
	device_close(&device);
	return 0;
}
