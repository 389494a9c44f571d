/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "partition/partition.h"
#include "base/cancel.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/wipe.h"
#include "config/config.h"
#include "hooks/capture_mode.h"
#include "partition/lanes.h"
#include "partition/rules.h"
#include "partition/self_test.h"
#include "partition/streams.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define MAX_DEVICES CONFIG_MAX_DEVICES

/* One device's. Wiped at fork: a child makes its own. */
struct partition {
	struct lock making;
	_Atomic bool is_made;
	_Atomic bool is_tested;       /* until then it is there for those that test it alone */
	_Atomic uintptr_t testers[2]; /* threads; 0: none */
	_Atomic bool is_given_up;     /* not tried again; what was made stays in use */
	_Atomic bool is_put_off;      /* with that, but tried again in another primary context */
	struct lanes lanes;
};

static struct partition *partitions;
static struct wish {
	_Atomic unsigned sm_count; /* 0: none */
	const struct partition_keeper *keeper;
} wishes[MAX_DEVICES];
static _Atomic unsigned wish_count; /* devices from here on have no wish */

bool partition_init(void)
{
	partitions = wipe_alloc(MAX_DEVICES * sizeof(*partitions));
	return partitions != NULL;
}

bool partition_is_possible(void)
{
	void *needed[] = {
		(void *)driver_real.cuDeviceGetDevResource,
		(void *)driver_real.cuDevSmResourceSplitByCount,
		(void *)driver_real.cuDevResourceGenerateDesc,
		(void *)driver_real.cuGreenCtxCreate,
		(void *)driver_real.cuGreenCtxStreamCreate,
		(void *)driver_real.cuCtxFromGreenCtx,
	};
	int version = 0;

	for (unsigned i = 0; i < ARRAY_LEN(needed); i++) {
		if (needed[i] == driver_absent())
			return false;
	}
	return driver_real.cuDriverGetVersion(&version) == CUDA_SUCCESS &&
	       version >= PARTITION_OLDEST_DRIVER;
}

void partition_wish(unsigned device, unsigned sm_count, const struct partition_keeper *keeper)
{
	unsigned count = atomic_load(&wish_count);

	if (device >= MAX_DEVICES)
		return;
	wishes[device].keeper = keeper;
	atomic_store(&wishes[device].sm_count, sm_count);
	atomic_store(&wish_count, device >= count ? device + 1 : count);
}

void partition_give_up(unsigned device, const char *reason)
{
	if (device >= MAX_DEVICES || atomic_load(&wishes[device].sm_count) == 0 ||
		atomic_exchange(&partitions[device].is_given_up, true))
		return;
	log_at(LOG_WARN, "partition",
		"GPU %u: no partition of %u SMs, for %s; the compute share is kept by time alone",
		device, atomic_load(&wishes[device].sm_count), reason);
	wishes[device].keeper->give_up(device);
}

static void put_off(unsigned device, const char *objection)
{
	atomic_store(&partitions[device].is_put_off, true);
	atomic_store(&partitions[device].is_given_up, true);
	log_at(LOG_INFO, "partition",
		"GPU %u: no partition of %u SMs: %s; the compute share is kept by time", device,
		atomic_load(&wishes[device].sm_count), objection);
	wishes[device].keeper->give_up(device);
}

/* A green context with exactly so many SMs. NULL or a reason. */
static const char *make_green(unsigned device, unsigned sm_count, CUgreenCtx *ret_green)
{
	CUdevResource all, part;
	CUdevResourceDesc description;
	unsigned groups = 1;

	if (driver_real.cuDeviceGetDevResource((CUdevice)device, &all, CU_DEV_RESOURCE_TYPE_SM) !=
		CUDA_SUCCESS)
		return "the driver tells no SMs";
	if (driver_real.cuDevSmResourceSplitByCount(&part, &groups, &all, NULL, 0, sm_count) !=
			CUDA_SUCCESS ||
		groups != 1)
		return "the driver does not split the device so";
	if (part.sm.smCount != sm_count)
		return "the driver gives another number";
	if (driver_real.cuDevResourceGenerateDesc(&description, &part, 1) != CUDA_SUCCESS ||
		driver_real.cuGreenCtxCreate(ret_green, description, (CUdevice)device,
			CU_GREEN_CTX_DEFAULT_STREAM) != CUDA_SUCCESS)
		return "the driver makes no green context";
	return NULL;
}

static bool is_tester(const struct partition *partition)
{
	uintptr_t self = (uintptr_t)pthread_self();

	return atomic_load(&partition->testers[0]) == self ||
	       atomic_load(&partition->testers[1]) == self;
}

static void admit_tester(unsigned device, bool is_tester)
{
	atomic_store(&partitions[device].testers[1], is_tester ? (uintptr_t)pthread_self() : 0);
}

static const char *test(unsigned device)
{
	struct partition *partition = &partitions[device];
	uint64_t begun_ns = clock_now_ns();

	atomic_store(&partition->testers[0], (uintptr_t)pthread_self());
	atomic_store(&partition->is_made, true);
	bool nodes_hold = false;
	const char *reason =
		self_test(device, atomic_load(&wishes[device].sm_count), admit_tester, &nodes_hold);
	if (!nodes_hold)
		atomic_store(&partition->lanes.nodes.get_out, true);
	atomic_store(&partition->testers[0], 0);
	atomic_store(&partition->testers[1], 0);
	log_at(LOG_DEBUG, "partition", "GPU %u: the self-test took %u us", device,
		(unsigned)((clock_now_ns() - begun_ns) / NS_PER_US));
	if (reason == NULL && partition->lanes.is_refused)
		reason = "the driver does not let its streams wait for others";
	return reason;
}

/* In the primary context, which is current. */
static const char *make(unsigned device, CUcontext primary)
{
	struct partition *partition = &partitions[device];
	CUgreenCtx green;
	const char *reason = make_green(device, atomic_load(&wishes[device].sm_count), &green);

	if (reason != NULL)
		return reason;
	if (!lanes_open(&partition->lanes, primary, green)) {
		driver_real.cuGreenCtxDestroy(green);
		return "the driver makes no streams in it";
	}
	reason = test(device);
	if (reason == NULL) {
		lanes_clear(&partition->lanes);
		atomic_store(&partition->is_tested, true);
		return NULL;
	}
	atomic_store(&partition->is_made, false);
	lanes_close(&partition->lanes);
	driver_real.cuGreenCtxDestroy(green);
	return reason;
}

/* Retaining one that is not active would make it. */
static bool is_primary(unsigned device, CUcontext context)
{
	CUcontext primary;
	unsigned flags;
	int is_active = 0;

	if (driver_real.cuDevicePrimaryCtxGetState((CUdevice)device, &flags, &is_active) !=
			CUDA_SUCCESS ||
		is_active == 0 ||
		driver_real.cuDevicePrimaryCtxRetain(&primary, (CUdevice)device) != CUDA_SUCCESS)
		return false;
	driver_real.cuDevicePrimaryCtxRelease_v2((CUdevice)device);
	return primary == context;
}

/* With `making` held, so that no work gets past a partition that another thread is making. */
static void make_or_give_up(unsigned device, CUcontext context)
{
	struct partition *partition = &partitions[device];
	const char *reason;

	if (atomic_load(&partition->is_made) || atomic_load(&partition->is_given_up))
		return;
	const struct partition_keeper *keeper = wishes[device].keeper;
	const char *objection = keeper->object != NULL ? keeper->object(device) : NULL;
	if (objection != NULL) {
		put_off(device, objection);
		return;
	}
	CUstreamCaptureMode mode = relax_capture();
	reason = make(device, context);
	restore_capture(mode);
	if (reason != NULL)
		partition_give_up(device, reason);
}

/* What the calling thread may use. */
static struct lanes *lanes_at(unsigned device)
{
	struct partition *partition = &partitions[device];

	if (!atomic_load(&partition->is_made) ||
		(unlikely(!atomic_load(&partition->is_tested)) && !is_tester(partition)))
		return NULL;
	return &partition->lanes;
}

static struct lanes *lanes_in(unsigned device, CUcontext context)
{
	struct lanes *lanes = lanes_at(device);

	return lanes != NULL && lanes->primary == context ? lanes : NULL;
}

/* A context that no partition is known for. */
COLD static struct lanes *begin(CUcontext context)
{
	CUdevice device;

	if (driver_real.cuCtxGetDevice(&device) != CUDA_SUCCESS ||
		(unsigned)device >= MAX_DEVICES || atomic_load(&wishes[device].sm_count) == 0 ||
		atomic_load(&partitions[device].is_given_up))
		return NULL;
	if (!is_primary((unsigned)device, context)) {
		partition_give_up((unsigned)device, "the program has contexts of its own");
		return NULL;
	}
	int cancelled = cancel_hold();
	lock_take(&partitions[device].making);
	make_or_give_up((unsigned)device, context);
	lock_drop(&partitions[device].making);
	cancel_restore(cancelled);
	return lanes_in((unsigned)device, context);
}

struct lanes *partition_current(void)
{
	unsigned count = atomic_load_explicit(&wish_count, memory_order_relaxed);
	CUcontext context;

	if (count == 0 || driver_real.cuCtxGetCurrent(&context) != CUDA_SUCCESS || context == NULL)
		return NULL;
	for (unsigned i = 0; i < count; i++) {
		struct lanes *lanes = lanes_in(i, context);
		if (lanes != NULL)
			return lanes;
	}
	return begin(context);
}

/* A call about the whole context would fail by a capture of the self-test, and spoil it. */
static void wait_for_test(struct partition *partition, CUcontext context)
{
	if (likely(!atomic_load(&partition->is_made) || atomic_load(&partition->is_tested)) ||
		is_tester(partition) || partition->lanes.primary != context)
		return;
	int cancelled = cancel_hold();
	lock_take(&partition->making);
	lock_drop(&partition->making);
	cancel_restore(cancelled);
}

struct lanes *partition_of(CUcontext context)
{
	unsigned count = atomic_load_explicit(&wish_count, memory_order_relaxed);

	if (count == 0 ||
		(context == NULL && driver_real.cuCtxGetCurrent(&context) != CUDA_SUCCESS))
		return NULL;
	for (unsigned i = 0; i < count && context != NULL; i++) {
		wait_for_test(&partitions[i], context);
		struct lanes *lanes = lanes_in(i, context);
		if (lanes != NULL)
			return lanes;
	}
	return NULL;
}

void partition_refuse(struct lanes *lanes, const char *reason)
{
	for (unsigned i = 0; i < partition_places(); i++) {
		if (lanes != &partitions[i].lanes)
			continue;
		if (atomic_load(&partitions[i].is_tested))
			partition_give_up(i, reason);
		else
			atomic_store(&lanes->nodes.get_out, true);
	}
}

void partition_refuse_all(const char *reason)
{
	bool is_testing = false;

	for (unsigned i = 0; i < partition_places(); i++) {
		if (!is_tester(&partitions[i]))
			continue;
		atomic_store(&partitions[i].lanes.nodes.get_out, true);
		is_testing = true;
	}
	for (unsigned i = 0; i < partition_places() && !is_testing; i++)
		partition_give_up(i, reason);
}

struct lanes *partition_at(unsigned place)
{
	return lanes_at(place);
}

unsigned partition_places(void)
{
	return atomic_load_explicit(&wish_count, memory_order_relaxed);
}

bool partition_holds(unsigned device)
{
	return device < MAX_DEVICES && atomic_load(&partitions[device].is_made) &&
	       atomic_load(&partitions[device].is_tested) &&
	       !atomic_load(&partitions[device].is_given_up);
}

unsigned partition_sm_count(unsigned device)
{
	if (device >= MAX_DEVICES || atomic_load(&partitions[device].is_given_up))
		return 0;
	return atomic_load(&wishes[device].sm_count);
}

/* Its streams and events are gone with it. */
void partition_forget(unsigned device)
{
	if (device >= MAX_DEVICES)
		return;
	if (atomic_exchange(&partitions[device].is_put_off, false))
		atomic_store(&partitions[device].is_given_up, false);
	if (!atomic_load(&partitions[device].is_made))
		return;
	atomic_store(&partitions[device].is_made, false);
	atomic_store(&partitions[device].is_tested, false);
	lanes_drop(&partitions[device].lanes);
}
