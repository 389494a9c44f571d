/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "hooks/refusals.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/units.h"
#include "base/wipe.h"
#include "ledger/ledger.h"
#include "slice/watch.h"

#include <stdatomic.h>
#include <stdio.h>

#define SILENCE_NS NS_PER_S

static struct refusals {
	_Atomic uint64_t count[LEDGER_MAX_DEVICES];
	_Atomic uint64_t next_line_ns[LEDGER_MAX_DEVICES];
	_Atomic uint64_t told_count[LEDGER_MAX_DEVICES]; /* as of the last line */
} * refusals;

bool refusals_init(void)
{
	refusals = wipe_alloc(sizeof(*refusals));
	return refusals != NULL;
}

uint64_t refusals_count(unsigned device)
{
	return atomic_load_explicit(&refusals->count[device], memory_order_relaxed);
}

static int add_part(char *text, size_t size, int len, const char *name, uint64_t bytes)
{
	if (bytes == 0 || (size_t)len >= size)
		return len;
	return len + snprintf(text + len, size - (size_t)len, "%s%s %s", len == 0 ? " (" : ", ",
			     name, units_format_bytes(bytes).text);
}

/* ` (linear 3.00 GiB, contexts 500.00 MiB)`: what this process has of it, and the rest of its
 * group; empty where nothing is used. */
static void format_parts(unsigned device, uint64_t used_bytes, char *text, size_t size)
{
	uint64_t ours = 0;
	int len = 0;

	text[0] = '\0';
	for (unsigned kind = 0; kind < LEDGER_KIND_COUNT; kind++) {
		uint64_t bytes = ledger_used_for(device, (enum ledger_kind)kind);
		ours += bytes;
		len = add_part(text, size, len, ledger_kind_name((enum ledger_kind)kind), bytes);
	}
	if (used_bytes > ours)
		len = add_part(text, size, len, "other processes", used_bytes - ours);
	if (len > 0 && (size_t)len + 1 < size)
		snprintf(text + len, size - (size_t)len, ")");
}

static void tell(unsigned device, uint64_t bytes, uint64_t more)
{
	uint64_t used = ledger_used(device);
	char parts[400], others[64] = "";

	format_parts(device, used, parts, sizeof(parts));
	if (more > 0)
		snprintf(others, sizeof(others), "; %llu more refused since the last line",
			(unsigned long long)more);
	log_at(LOG_INFO, "ledger", "refused %s on GPU %u: %s of %s used%s%s",
		units_format_bytes(bytes).text, device, units_format_bytes(used).text,
		units_format_bytes(ledger_quota(device)).text, parts, others);
}

COLD void refusals_add(unsigned device, uint64_t bytes)
{
	uint64_t count =
		atomic_fetch_add_explicit(&refusals->count[device], 1, memory_order_relaxed) + 1;

	watch_tell();
	if (log_level < LOG_INFO)
		return;
	_Atomic uint64_t *next_ns = &refusals->next_line_ns[device];
	uint64_t now_ns = clock_now_ns();
	uint64_t due_ns = atomic_load_explicit(next_ns, memory_order_relaxed);
	if (now_ns < due_ns ||
		!atomic_compare_exchange_strong_explicit(next_ns, &due_ns, now_ns + SILENCE_NS,
			memory_order_relaxed, memory_order_relaxed))
		return;
	uint64_t told = atomic_exchange_explicit(
		&refusals->told_count[device], count, memory_order_relaxed);
	tell(device, bytes, count > told + 1 ? count - told - 1 : 0);
}
