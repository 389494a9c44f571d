/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * gpu-trace.so: logs which driver functions a program looks up, and how often it calls each. No
 * part of the product: an auditor of the dynamic linker (LD_AUDIT, see rtld-audit(7)), so that no
 * dlsym has to be replaced and nothing in the program's own name space changes.
 *
 * GPU_TRACE_LOG names the log; the process id is added. Each line is one of
 *	lookup,HOW,NAME,VERSION,FLAGS,SYMBOL	at once, the first time; SYMBOL empty: refused
 *	calls,SYMBOL,COUNT			at exit
 */
#include "trace.h"

#include <cuda.h>

#include <dlfcn.h>
#include <fcntl.h>
#include <link.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define EXPORT      __attribute__((visibility("default")))
#define MAX_LOOKUPS 4096
#define NAME_LEN    64

extern const char trace_thunks[];
extern void *trace_targets[TRACE_SLOTS];
extern uint64_t trace_calls[TRACE_SLOTS];
void *trace_targets[TRACE_SLOTS];
uint64_t trace_calls[TRACE_SLOTS];

typedef CUresult proc_address_v1(const char *name, void **ret, int version, cuuint64_t flags);
typedef CUresult proc_address_v2(const char *name, void **ret, int version, cuuint64_t flags,
	CUdriverProcAddressQueryResult *status);

static struct slot {
	char symbol[NAME_LEN]; /* copied: the driver may be unloaded before the log is written */
	void *answer;          /* what the program gets: the thunk, or a wrapper below */
} slots[TRACE_SLOTS];
static size_t slot_count;

static uint64_t lookups_seen[MAX_LOOKUPS]; /* hashes of lines */
static size_t lookup_count;

static int log_fd = -1;
static proc_address_v1 *real_v1;
static proc_address_v2 *real_v2;

/* Lookups come from the linker, which holds its own lock, and from the program's threads. */
static atomic_flag is_locked = ATOMIC_FLAG_INIT;

static void lock(void)
{
	while (atomic_flag_test_and_set_explicit(&is_locked, memory_order_acquire))
		;
}

static void unlock(void)
{
	atomic_flag_clear_explicit(&is_locked, memory_order_release);
}

static uint64_t hash(const char *text)
{
	uint64_t sum = 0xcbf29ce484222325u;

	for (; *text != '\0'; text++)
		sum = (sum ^ (unsigned char)*text) * 0x100000001b3u;
	return sum;
}

static bool is_new_lookup(uint64_t line_hash)
{
	for (size_t i = 0; i < lookup_count; i++) {
		if (lookups_seen[i] == line_hash)
			return false;
	}
	if (lookup_count < MAX_LOOKUPS)
		lookups_seen[lookup_count++] = line_hash;
	return true;
}

/* One write a line: threads and forked children share the file. */
static void write_line(const char *line, int len)
{
	if (log_fd >= 0 && len > 0 && write(log_fd, line, (size_t)len) < 0)
		log_fd = -1;
}

static void log_lookup(
	const char *how, const char *name, int version, unsigned flags, const char *symbol)
{
	char line[256];

	int len = snprintf(
		line, sizeof(line), "lookup,%s,%s,%d,%u,%s\n", how, name, version, flags, symbol);
	lock();
	if (is_new_lookup(hash(line)))
		write_line(line, len);
	unlock();
}

static CUresult wrapped_v1(const char *name, void **ret, int version, cuuint64_t flags);
static CUresult wrapped_v2(const char *name, void **ret, int version, cuuint64_t flags,
	CUdriverProcAddressQueryResult *status);

/* What the program gets for a new slot. The lookup functions answer with functions themselves, so
 * these two are wrapped in C; their calls are seen as lookups. */
static void *answer_for(const char *symbol, void *function, size_t slot)
{
	if (strcmp(symbol, "cuGetProcAddress") == 0) {
		real_v1 = (proc_address_v1 *)function;
		return (void *)wrapped_v1;
	}
	if (strcmp(symbol, "cuGetProcAddress_v2") == 0) {
		real_v2 = (proc_address_v2 *)function;
		return (void *)wrapped_v2;
	}
	return (void *)(uintptr_t)(trace_thunks + slot * TRACE_THUNK_SIZE);
}

/* Returns what the program is to call instead of `function`; the function itself when all slots
 * are taken. */
static void *trace_function(void *function, const char *symbol)
{
	size_t i = 0;

	lock();
	while (i < slot_count && trace_targets[i] != function)
		i++;
	if (i == slot_count && i < TRACE_SLOTS) {
		trace_targets[i] = function;
		snprintf(slots[i].symbol, NAME_LEN, "%s", symbol);
		slots[i].answer = answer_for(symbol, function, i);
		slot_count++;
	}
	unlock();
	return i < TRACE_SLOTS ? slots[i].answer : function;
}

/* Notes an answer of cuGetProcAddress and puts the thunk in its place. */
static void trace_answer(
	const char *name, void **ret, int version, cuuint64_t flags, CUresult result)
{
	const char *symbol = name;
	Dl_info info;

	if (result != CUDA_SUCCESS || ret == NULL || *ret == NULL) {
		log_lookup("cuGetProcAddress", name, version, (unsigned)flags, "");
		return;
	}
	if (dladdr(*ret, &info) != 0 && info.dli_sname != NULL && info.dli_saddr == *ret)
		symbol = info.dli_sname;
	log_lookup("cuGetProcAddress", name, version, (unsigned)flags, symbol);
	*ret = trace_function(*ret, symbol);
}

static CUresult wrapped_v1(const char *name, void **ret, int version, cuuint64_t flags)
{
	CUresult res = real_v1(name, ret, version, flags);

	trace_answer(name, ret, version, flags, res);
	return res;
}

static CUresult wrapped_v2(const char *name, void **ret, int version, cuuint64_t flags,
	CUdriverProcAddressQueryResult *status)
{
	CUresult res = real_v2(name, ret, version, flags, status);

	trace_answer(name, ret, version, flags, res);
	return res;
}

EXPORT unsigned la_version(unsigned version)
{
	const char *log = getenv("GPU_TRACE_LOG");
	char path[4096];

	if (log != NULL) {
		snprintf(path, sizeof(path), "%s.%d", log, (int)getpid());
		log_fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	}
	return version < LAV_CURRENT ? version : LAV_CURRENT;
}

/* Only what binds to the driver from outside of it is of interest. */
EXPORT unsigned la_objopen(struct link_map *map, Lmid_t id, uintptr_t *cookie)
{
	(void)id;
	(void)cookie;
	return strstr(map->l_name, "libcuda.so") != NULL ? LA_FLG_BINDTO : LA_FLG_BINDFROM;
}

EXPORT uintptr_t la_symbind64(ElfW(Sym) * sym, unsigned index, uintptr_t *from, uintptr_t *to,
	unsigned *flags, const char *name)
{
	(void)index;
	(void)from;
	(void)to;
	*flags |= LA_SYMB_NOPLTENTER | LA_SYMB_NOPLTEXIT;
	if (strncmp(name, "cu", 2) != 0)
		return sym->st_value;
	log_lookup((*flags & LA_SYMB_DLSYM) != 0 ? "dlsym" : "linked", name, 0, 0, name);
	return (uintptr_t)trace_function((void *)sym->st_value, name);
}

__attribute__((destructor)) static void write_calls(void)
{
	char line[128];

	for (size_t i = 0; i < slot_count; i++) {
		int len = snprintf(line, sizeof(line), "calls,%s,%llu\n", slots[i].symbol,
			(unsigned long long)trace_calls[i]);
		if (trace_calls[i] != 0)
			write_line(line, len);
	}
}
