/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "slice/watch.h"
#include "base/clock.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/wipe.h"
#include "config/config_policy.h"
#include "entry/entry.h"
#include "governor/governor.h"
#include "group/helper.h"
#include "group/segment.h"
#include "ledger/ledger.h"
#include "slice/share.h"
#include "slice/slice.h"

#include <stdio.h>
#include <string.h>

/* Two looks are to fit into 50 ms. */
#define PERIOD_NS (20 * NS_PER_MS)

/* Wiped at fork, with the thread. */
static struct watch {
	atomic_flag is_begun;

	/* The thread's own. */
	struct config policy; /* as it was last read, understood or not */
	bool has_objected;    /* to that */
	uint64_t settled;     /* the print of what has been dealt with */
	uint64_t last;        /* at the last look */

	struct lock lock; /* of the news */
	enum log_level level;
	const char *about;
	char news[CONFIG_PROBLEM_LEN + 100];
	char told[CONFIG_PROBLEM_LEN + 100];
} * watch;

atomic_bool watch_has_news;

bool watch_init(void)
{
	watch = wipe_alloc(sizeof(*watch));
	return watch != NULL;
}

static void set_news(enum log_level level, const char *about, const char *text)
{
	lock_take(&watch->lock);
	/* A problem is told once, and before what is none. */
	bool is_less = watch->news[0] != '\0' && watch->level < level;
	if (level <= log_level && !is_less &&
		(level > LOG_WARN || strcmp(text, watch->told) != 0)) {
		watch->level = level;
		watch->about = about;
		snprintf(watch->news, sizeof(watch->news), "%s", text);
		atomic_store_explicit(&watch_has_news, true, memory_order_relaxed);
	}
	lock_drop(&watch->lock);
}

COLD void watch_tell_news(void)
{
	char text[sizeof(watch->news)];
	enum log_level level;
	const char *about;

	lock_take(&watch->lock);
	level = watch->level;
	about = watch->about;
	memcpy(text, watch->news, sizeof(text));
	watch->news[0] = '\0';
	/* Of several threads that come by, those that are late find nothing. */
	if (text[0] != '\0')
		memcpy(watch->told, text, sizeof(text));
	atomic_store_explicit(&watch_has_news, false, memory_order_relaxed);
	lock_drop(&watch->lock);
	if (text[0] != '\0')
		log_at(level, about, "%s", text);
}

/* The policy is followed again: what was to be told against it is true no more, and would be news
 * another time. */
static void forget_objection(void)
{
	lock_take(&watch->lock);
	if (watch->level <= LOG_WARN)
		watch->news[0] = '\0';
	watch->told[0] = '\0';
	lock_drop(&watch->lock);
}

/* Why the policy as it was read cannot be followed now, NULL where it can. */
static const char *objection_to(const struct config *policy)
{
	if (policy->problem_count > 0)
		return policy->problems[0];
	if (config_names_devices_by_number(policy) && !slice_knows_numbers())
		return "the policy names devices by number, as no setting did when this program "
		       "started; name them by UUID, or start it again";
	return NULL;
}

static void tell_change(unsigned change)
{
	char text[sizeof(watch->news)] = "";
	size_t len = 0;

	if ((change & SLICE_HELD_BACK) != 0)
		len += (size_t)snprintf(text, sizeof(text),
			"the policy has become looser, but "
			"this program may have written it itself; what it had before holds until "
			"it is started again");
	if ((change & SLICE_SHARE_TOO_BIG) != 0)
		snprintf(text + len, sizeof(text) - len,
			"%sthe compute share is larger than the "
			"partition of SMs, which keeps its size until the program is started "
			"again",
			len > 0 ? "; " : "");
	if (text[0] != '\0')
		set_news(LOG_WARN, "config", text);
	else if ((change & SLICE_PART_OF_TIME) != 0)
		set_news(LOG_INFO, "config",
			"the policy has changed, and acts; the partition of SMs keeps "
			"its size, and has less of the time");
	else if (change != 0)
		set_news(LOG_INFO, "config", "the policy has changed, and acts");
}

/* False where the folder is not any more what it was: it is being replaced, and what was read may
 * be a part of the policy, or nothing. */
static bool follow_policy(uint64_t folder_print)
{
	char text[sizeof(watch->news)];

	config_policy_read_again(entry_config(), &watch->policy);
	if (config_policy_folder_print(&watch->policy) != folder_print)
		return false;
	const char *objection = objection_to(&watch->policy);
	if (watch->has_objected && objection == NULL)
		forget_objection();
	watch->has_objected = objection != NULL;
	if (objection != NULL) {
		snprintf(text, sizeof(text), "%s; the limits stay as they are", objection);
		set_news(LOG_WARN, "config", text);
		return true;
	}
	tell_change(slice_apply_again(&watch->policy, config_policy_is_trusted(&watch->policy)));
	return true;
}

/* A list of other files has another print too, so it is read once more before it counts as dealt
 * with: a file that came while the folder was read is not missed. */
static void look_at_policy(void)
{
	/* In this order: where the folder changes in between the other is not the last. */
	uint64_t folder_print = config_policy_folder_print(&watch->policy);
	uint64_t print = config_policy_print(&watch->policy);

	if (print != watch->settled && print == watch->last && follow_policy(folder_print))
		watch->settled = print;
	watch->last = print;
}

static void look_at_tenants(void)
{
	char text[100];

	for (unsigned i = 0; slice_exists((CUdevice)i); i++) {
		if (!share_look_again(i))
			continue;
		snprintf(text, sizeof(text), "GPU %u: %s", i,
			share_is_beside_others(i) ? "others are at it, so it is shared by time"
						  : "nobody else is at it");
		set_news(LOG_INFO, "slice", text);
	}
}

static uint64_t look(void *unused)
{
	(void)unused;
	governor_look_again();
	for (unsigned i = 0; slice_exists((CUdevice)i); i++)
		ledger_look_again(i);
	if (share_looks_again())
		look_at_tenants();
	if (entry_config()->has_policy)
		look_at_policy();
	return PERIOD_NS;
}

/* What the start has read may have changed since: it is read once more in any case. */
static void begin(void *unused)
{
	watch->policy = *entry_config();
	watch->last = config_policy_print(&watch->policy);
	watch->settled = ~watch->last;
	helper_watch(look, unused);
}

void watch_begin(void)
{
	bool is_needed = segment_is_used() || entry_config()->has_policy || share_looks_again();

	if (is_needed && !atomic_flag_test_and_set(&watch->is_begun) && helper_init())
		helper_do(begin, NULL);
}
