/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "partition/mps.h"
#include "base/compiler.h"
#include "base/log.h"
#include "base/wipe.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define DEFAULT_DIRECTORY "/tmp/nvidia-mps"

/* A driver that reads whole numbers alone must not take less for none. */
#define LEAST_PPM (PPM_WHOLE / 100)

/* Until a list of the environment is made that no thread has exchanged meanwhile. */
#define PUT_TRIES 1000u

/* 0, or why not. A queue of connections that is full (EAGAIN) is somebody's. */
static int try_connect(const struct sockaddr_un *address, int type)
{
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return errno;
	int error =
		connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0 ? 0 : errno;
	close(fd);
	return error == EAGAIN ? 0 : error;
}

static struct mps_daemon look_at(const char *directory)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct mps_daemon found = {.is_there = false};

	int len = snprintf(address.sun_path, sizeof(address.sun_path), "%s/control", directory);
	if (len < 0 || (size_t)len >= sizeof(address.sun_path)) {
		snprintf(found.text, sizeof(found.text),
			"no MPS: the path \"%.60s...\" is too long for a socket", directory);
		return found;
	}
	int error = try_connect(&address, SOCK_SEQPACKET);
	if (error == EPROTOTYPE)
		error = try_connect(&address, SOCK_STREAM);
	found.is_there = error == 0;
	if (error == 0)
		snprintf(found.text, sizeof(found.text), "MPS at %s", address.sun_path);
	else
		snprintf(found.text, sizeof(found.text), "no MPS at %s: %s", address.sun_path,
			strerror(error));
	return found;
}

struct mps_daemon mps_find(const char *directory)
{
	int before = errno;
	struct mps_daemon found =
		look_at(directory != NULL && *directory != '\0' ? directory : DEFAULT_DIRECTORY);

	errno = before;
	return found;
}

/* The share of one device that MPS may keep; PPM_WHOLE where it is kept otherwise, or not at all. A
 * number of SMs is no percentage before the device is known. */
static uint32_t share_of(const struct config *config, const struct config_device *device)
{
	enum config_mechanism mechanism = config_mechanism_of(config, device);
	uint32_t least = PPM_WHOLE;

	if (mechanism != CONFIG_AUTO && mechanism != CONFIG_MPS)
		return PPM_WHOLE;
	for (unsigned i = 0; i < config->value_count; i++) {
		const struct config_value *value = &config->values[i];
		if (value->key == CONFIG_COMPUTE && value->compute.ppm != 0 &&
			value->compute.ppm < least && config_value_counts(config, value, device))
			least = value->compute.ppm;
	}
	return least;
}

/* Every device, and those that have settings of their own. */
static uint32_t largest_share(const struct config *config)
{
	struct config_device every = {.number = -1};
	uint32_t largest = share_of(config, &every);

	for (unsigned i = 0; i < config->value_count; i++) {
		const struct config_value *value = &config->values[i];
		if (value->devices.by == CONFIG_EVERY_DEVICE)
			continue;
		struct config_device device = config_device_of(value);
		uint32_t ppm = share_of(config, &device);
		largest = ppm > largest ? ppm : largest;
	}
	return largest < LEAST_PPM ? LEAST_PPM : largest;
}

static bool is_asked(const struct config *config)
{
	struct config_device every = {.number = -1};
	enum config_mechanism mechanism = config_mechanism_of(config, &every);
	bool is_asked = mechanism == CONFIG_AUTO || mechanism == CONFIG_MPS;

	for (unsigned i = 0; i < config->value_count; i++)
		is_asked |= config->values[i].key == CONFIG_MECHANISM &&
			    config->values[i].mechanism == CONFIG_MPS;
	return is_asked && config_limits_compute(config);
}

/* As NVIDIA's tools write it: 30 or 12.5. */
static void write_percentage(uint32_t ppm, char text[16])
{
	snprintf(text, 16, "%u.%04u", ppm / 10000, ppm % 10000);
	for (size_t len = strlen(text); text[len - 1] == '0'; len--)
		text[len - 1] = '\0';
	if (text[strlen(text) - 1] == '.')
		text[strlen(text) - 1] = '\0';
}

/* What the environment has already. */
struct percentage {
	uint32_t ppm;  /* 0: none, or what is not above 0 and up to 100 */
	bool is_plain; /* as every driver takes it, for all that is known */
};

/* What is no plain number may be one to a driver (`33.33333333333333333333`, ` 20`, `20%`): it is
 * read as strtod() does. */
static struct percentage percentage_before(void)
{
	const char *text = getenv(MPS_PERCENTAGE);
	struct share_value share;
	char percent[32];

	if (text == NULL)
		return (struct percentage){.ppm = 0};
	int len = snprintf(percent, sizeof(percent), "%s%%", text);
	if (len > 0 && (size_t)len < sizeof(percent) && units_parse_share(percent, &share) == NULL)
		return (struct percentage){share.ppm, true};
	double value = strtod(text, NULL);
	if (!(value > 0 && value <= 100)) /* NaN is none either */
		return (struct percentage){.ppm = 0};
	uint32_t ppm = (uint32_t)(value * (PPM_WHOLE / 100));
	return (struct percentage){ppm > LEAST_PPM ? ppm : LEAST_PPM, false};
}

bool mps_names_partition(void)
{
	const char *partition = getenv(MPS_SM_PARTITION);

	return partition != NULL && *partition != '\0';
}

const char *mps_variable(void)
{
	if (mps_names_partition())
		return MPS_SM_PARTITION;
	/* What is no percentage may be one to another driver. */
	struct percentage before = percentage_before();
	bool is_whole = before.is_plain && before.ppm == PPM_WHOLE;

	return getenv(MPS_PERCENTAGE) != NULL && !is_whole ? MPS_PERCENTAGE : NULL;
}

static void refuse(struct mps_plan *plan, const char *reason)
{
	plan->ppm = PPM_WHOLE;
	snprintf(plan->reason, sizeof(plan->reason), "%s", reason);
}

struct mps_plan mps_plan(const struct config *config)
{
	struct mps_plan plan = {.is_asked = is_asked(config), .ppm = PPM_WHOLE};
	struct percentage before = percentage_before();
	bool has_part = before.is_plain && before.ppm < PPM_WHOLE && config_limits_compute(config);

	if (!plan.is_asked && !has_part)
		return plan;
	struct mps_daemon found = mps_find(getenv("CUDA_MPS_PIPE_DIRECTORY"));
	uint32_t wanted = plan.is_asked ? largest_share(config) : PPM_WHOLE;
	if (!found.is_there)
		refuse(&plan, found.text);
	else if (mps_names_partition())
		refuse(&plan, MPS_SM_PARTITION " is set: MPS gives it SMs of its own");
	else if (wanted == PPM_WHOLE && !has_part)
		refuse(&plan, "MPS takes one percentage for all devices, and not each has a share "
			      "in percent");
	if (*plan.reason != '\0')
		return plan;
	bool is_tighter = before.ppm == 0 || wanted < before.ppm;
	plan.ppm = is_tighter ? wanted : before.ppm;
	/* What not every driver may understand is written so that it does. */
	plan.is_change = is_tighter || !before.is_plain;
	write_percentage(plan.ppm, plan.percentage);
	snprintf(plan.reason, sizeof(plan.reason), "%s", found.text);
	return plan;
}

/* `before` with that entry in place of what it has for the percentage. It is read once, to its
 * first NULL: unsetenv() in another thread makes it shorter meanwhile. NULL without memory. */
static char **list_with(char *entry, char *const before[], size_t *ret_size)
{
	size_t count = 0, kept = 0;

	while (before != NULL && __atomic_load_n(&before[count], __ATOMIC_ACQUIRE) != NULL)
		count++;
	*ret_size = (count + 2) * sizeof(char *);
	char **after = pages_alloc(*ret_size);
	for (size_t i = 0; after != NULL && i < count; i++) {
		char *at = __atomic_load_n(&before[i], __ATOMIC_ACQUIRE);
		if (at == NULL)
			break;
		if (strncmp(at, MPS_PERCENTAGE "=", strlen(MPS_PERCENTAGE "=")) != 0)
			after[kept++] = at;
	}
	if (after != NULL)
		after[kept] = entry;
	return after;
}

/* Not by setenv(): that may move what another thread reads at this moment by getenv(), which takes
 * no lock. Here the old list stays as it is, and the new one is never given back. Of threads that
 * write the environment meanwhile, which are at odds with the driver too, for it reads it in
 * cuInit, one that has made another list is not undone. */
static bool put(const char *percentage)
{
	extern char **environ;
	static char entry[sizeof(MPS_PERCENTAGE "=") + 16];
	size_t size;

	snprintf(entry, sizeof(entry), MPS_PERCENTAGE "=%s", percentage);
	for (unsigned i = 0; i < PUT_TRIES; i++) {
		char **before = __atomic_load_n(&environ, __ATOMIC_ACQUIRE);
		char **after = list_with(entry, before, &size);
		if (after == NULL)
			return false;
		if (__atomic_compare_exchange_n(
			    &environ, &before, after, false, __ATOMIC_RELEASE, __ATOMIC_RELAXED))
			return true;
		pages_free(after, size);
	}
	return false;
}

static struct mps_plan begun = {.ppm = PPM_WHOLE};

void mps_begin(const struct config *config)
{
	struct mps_plan plan = mps_plan(config);

	if (plan.is_change && !put(plan.percentage))
		refuse(&plan, "the percentage cannot be put into the environment");
	if (plan.ppm != PPM_WHOLE)
		log_at(LOG_INFO, "mps", "%s: %s=%s%s", plan.reason, MPS_PERCENTAGE, plan.percentage,
			plan.is_change ? "" : ", as it was");
	begun = plan;
}

const struct mps_plan *mps_begun(void)
{
	return &begun;
}
