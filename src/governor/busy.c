/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "governor/busy.h"

#include <string.h>

static void settle_oldest(struct busy *busy)
{
	busy->settled_ns = busy->spans[0].end_ns;
	busy->is_settled = 1;
	busy->count--;
	memmove(&busy->spans[0], &busy->spans[1], busy->count * sizeof(busy->spans[0]));
}

uint64_t busy_add(struct busy *busy, int64_t start_ns, int64_t end_ns)
{
	if (busy->is_settled && start_ns < busy->settled_ns)
		start_ns = busy->settled_ns;
	if (end_ns <= start_ns)
		return 0;
	struct busy_span merged = {start_ns, end_ns};
	int64_t fresh_ns = end_ns - start_ns;
	unsigned first = 0;

	while (first < busy->count && busy->spans[first].end_ns < start_ns)
		first++;
	unsigned behind = first;
	for (; behind < busy->count && busy->spans[behind].start_ns <= end_ns; behind++) {
		const struct busy_span *span = &busy->spans[behind];
		int64_t from = span->start_ns > start_ns ? span->start_ns : start_ns;
		int64_t to = span->end_ns < end_ns ? span->end_ns : end_ns;
		fresh_ns -= to - from;
		if (span->start_ns < merged.start_ns)
			merged.start_ns = span->start_ns;
		if (span->end_ns > merged.end_ns)
			merged.end_ns = span->end_ns;
	}
	if (behind == first && busy->count == BUSY_MAX_SPANS) {
		if (first == 0)
			return (uint64_t)fresh_ns; /* older than all: billed, not remembered */
		settle_oldest(busy);
		first--;
		behind--;
	}
	memmove(&busy->spans[first + 1], &busy->spans[behind],
		(busy->count - behind) * sizeof(busy->spans[0]));
	busy->count = busy->count - (behind - first) + 1;
	busy->spans[first] = merged;
	return (uint64_t)fresh_ns;
}
