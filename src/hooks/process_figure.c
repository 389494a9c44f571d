/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "hooks/process_figure.h"
#include "base/cancel.h"
#include "base/wipe.h"
#include "driver/nvml_client.h"
#include "ledger/ledger.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#define MAX_PROCESSES  256 /* on one device; with more the figure is not known */
#define MAX_NAMESPACES 8

/* The kernel's inode of the initial PID namespace. */
#define INITIAL_NAMESPACE 0xEFFFFFFCu

enum state { UNTRIED, LOADING, READY, ABSENT };

/* Wiped at fork: a child speaks to NVML anew, and has another pid. */
static struct figure {
	_Atomic enum state state;
	struct nvml_client nvml;
	void *_Atomic handles[LEDGER_MAX_DEVICES]; /* NULL: not asked for yet */
	_Atomic unsigned learned_pid; /* as the list has it, where that is not our own; 0: none */
} * figure;

struct process_list {
	unsigned count;
	struct nvml_process entries[MAX_PROCESSES];
};

bool process_figure_init(void)
{
	figure = wipe_alloc(sizeof(*figure));
	return figure != NULL;
}

/* No lock: one thread loads, and the others do without meanwhile. */
static COLD bool load(void)
{
	enum state seen = UNTRIED;

	if (!atomic_compare_exchange_strong(&figure->state, &seen, LOADING))
		return seen == READY;
	bool is_there = nvml_client_open(&figure->nvml) && figure->nvml.processes != NULL;
	atomic_store_explicit(&figure->state, is_there ? READY : ABSENT, memory_order_release);
	return is_there;
}

bool process_figure_is_there(void)
{
	/* acquire: pairs with the release in load() */
	enum state now = atomic_load_explicit(&figure->state, memory_order_acquire);

	if (likely(now != UNTRIED))
		return now == READY;
	int saved_errno = errno, cancel_state = cancel_hold();
	bool is_there = load();
	cancel_restore(cancel_state);
	errno = saved_errno;
	return is_there;
}

bool process_figure_is_absent(void)
{
	return atomic_load_explicit(&figure->state, memory_order_relaxed) == ABSENT;
}

static bool find_handle(unsigned device, void **ret_handle)
{
	*ret_handle = atomic_load_explicit(&figure->handles[device], memory_order_relaxed);
	if (*ret_handle != NULL)
		return true;
	if (!nvml_client_find_device(&figure->nvml, (CUdevice)device, ret_handle))
		return false;
	atomic_store_explicit(&figure->handles[device], *ret_handle, memory_order_relaxed);
	return true;
}

static bool read_list(unsigned device, struct process_list *ret_list)
{
	void *handle;

	ret_list->count = MAX_PROCESSES;
	return find_handle(device, &handle) &&
	       figure->nvml.processes(handle, &ret_list->count, ret_list->entries) == 0;
}

static bool is_in_initial_namespace(void)
{
	struct stat namespace;

	return stat("/proc/self/ns/pid", &namespace) == 0 && namespace.st_ino == INITIAL_NAMESPACE;
}

/* A list from another namespace has, sooner or later, a pid that is nobody's here. */
static bool is_of_our_namespace(const struct process_list *list)
{
	if (is_in_initial_namespace())
		return true;
	for (unsigned i = 0; i < list->count; i++) {
		if (kill((pid_t)list->entries[i].pid, 0) != 0 && errno == ESRCH)
			return false;
	}
	return true;
}

/* Our pids from the outermost namespace that /proc knows to our own. Returns how many. */
static unsigned read_own_pids(unsigned ret_pids[MAX_NAMESPACES])
{
	char text[4096];
	unsigned count = 0;
	int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
	ssize_t len = fd >= 0 ? read(fd, text, sizeof(text) - 1) : 0;

	if (fd >= 0)
		close(fd);
	text[len > 0 ? len : 0] = '\0';
	char *at = strstr(text, "\nNSpid:");
	for (at = at != NULL ? at + 7 : NULL; at != NULL && count < MAX_NAMESPACES; count++) {
		at += strspn(at, " \t");
		if (*at < '0' || *at > '9')
			break;
		ret_pids[count] = (unsigned)strtoul(at, &at, 10);
	}
	if (count == 0)
		ret_pids[count++] = (unsigned)getpid();
	return count;
}

static const struct nvml_process *find_pid(const struct process_list *list, unsigned pid)
{
	for (unsigned i = 0; i < list->count; i++) {
		if (list->entries[i].pid == pid)
			return &list->entries[i];
	}
	return NULL;
}

/* False where it is not known which entry would be ours; *ret_entry is NULL where none is. */
static bool find_us(const struct process_list *list, const struct nvml_process **ret_entry)
{
	unsigned pids[MAX_NAMESPACES];
	unsigned learned = atomic_load_explicit(&figure->learned_pid, memory_order_relaxed);

	if (learned != 0) {
		*ret_entry = find_pid(list, learned);
		return true;
	}
	unsigned count = read_own_pids(pids);
	/* Those but the last are of outer namespaces, which only they who are there are told. */
	for (unsigned i = 0; i + 1 < count; i++) {
		*ret_entry = find_pid(list, pids[i]);
		if (*ret_entry != NULL)
			return true;
	}
	*ret_entry = find_pid(list, pids[count - 1]);
	return is_of_our_namespace(list);
}

static bool read_figure(unsigned device, uint64_t *ret_bytes)
{
	const struct nvml_process *entry;
	struct process_list *list = pages_alloc(sizeof(*list));
	bool is_known = list != NULL && read_list(device, list) && find_us(list, &entry);

	if (is_known)
		*ret_bytes = entry != NULL ? entry->used_bytes : 0;
	pages_free(list, sizeof(*list));
	return is_known && *ret_bytes != NVML_NOT_AVAILABLE;
}

bool process_figure_read(unsigned device, uint64_t *ret_bytes)
{
	if (!process_figure_is_there())
		return false;
	int saved_errno = errno, cancel_state = cancel_hold();
	bool is_known = read_figure(device, ret_bytes);
	cancel_restore(cancel_state);
	errno = saved_errno;
	return is_known;
}

static bool is_listed(unsigned device)
{
	const struct nvml_process *entry = NULL;
	struct process_list *list = pages_alloc(sizeof(*list));
	bool is_known = list != NULL && read_list(device, list) && find_us(list, &entry);

	pages_free(list, sizeof(*list));
	return is_known && entry != NULL;
}

bool process_figure_is_listed(unsigned device)
{
	if (!process_figure_is_there())
		return false;
	int saved_errno = errno, cancel_state = cancel_hold();
	bool is_in_it = is_listed(device);
	cancel_restore(cancel_state);
	errno = saved_errno;
	return is_in_it;
}

static bool read_free(unsigned device, uint64_t *ret_bytes)
{
	struct nvml_memory memory;
	void *handle;

	if (figure->nvml.memory_info == NULL || !find_handle(device, &handle) ||
		figure->nvml.memory_info(handle, &memory) != 0)
		return false;
	*ret_bytes = memory.free;
	return true;
}

bool process_figure_read_free(unsigned device, uint64_t *ret_bytes)
{
	if (!process_figure_is_there())
		return false;
	int saved_errno = errno, cancel_state = cancel_hold();
	bool is_known = read_free(device, ret_bytes);
	cancel_restore(cancel_state);
	errno = saved_errno;
	return is_known;
}

static bool watch(unsigned device, struct process_watch *ret_watch)
{
	struct process_list *list = pages_alloc(sizeof(*list));
	bool is_read = list != NULL && !is_in_initial_namespace() && read_list(device, list) &&
		       list->count <= PROCESS_FIGURE_MAX_WATCHED;

	ret_watch->device = device;
	ret_watch->count = is_read ? list->count : 0;
	for (unsigned i = 0; i < ret_watch->count; i++)
		ret_watch->pids[i] = list->entries[i].pid;
	pages_free(list, sizeof(*list));
	return is_read;
}

void process_figure_watch(unsigned device, struct process_watch *ret_watch)
{
	ret_watch->is_watching = false;
	if (!process_figure_is_there() ||
		atomic_load_explicit(&figure->learned_pid, memory_order_relaxed) != 0)
		return;
	int saved_errno = errno, cancel_state = cancel_hold();
	ret_watch->is_watching = watch(device, ret_watch);
	cancel_restore(cancel_state);
	errno = saved_errno;
}

static bool was_there(const struct process_watch *watch, unsigned pid)
{
	for (unsigned i = 0; i < watch->count; i++) {
		if (watch->pids[i] == pid)
			return true;
	}
	return false;
}

/* The pid of the one that came; 0 where none or several did, or where ours is one of the list. */
static unsigned find_newcomer(const struct process_watch *watch, const struct process_list *list)
{
	const struct nvml_process *us;
	unsigned newcomer = 0;

	if (find_us(list, &us) && us != NULL)
		return 0;
	for (unsigned i = 0; i < list->count; i++) {
		if (was_there(watch, list->entries[i].pid))
			continue;
		if (newcomer != 0)
			return 0;
		newcomer = list->entries[i].pid;
	}
	return newcomer;
}

static void learn(const struct process_watch *watch)
{
	struct process_list *list = pages_alloc(sizeof(*list));

	if (list != NULL && read_list(watch->device, list))
		atomic_store_explicit(
			&figure->learned_pid, find_newcomer(watch, list), memory_order_relaxed);
	pages_free(list, sizeof(*list));
}

void process_figure_learn(const struct process_watch *watch)
{
	if (!watch->is_watching)
		return;
	int saved_errno = errno, cancel_state = cancel_hold();
	learn(watch);
	cancel_restore(cancel_state);
	errno = saved_errno;
}
