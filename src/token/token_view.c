/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "token/token_view.h"
#include "base/wipe.h"
#include "token/token_seat.h"

#include <errno.h>
#include <unistd.h>

static struct token_tenant *tenant_of(struct token_view *view, uint64_t group)
{
	unsigned i = 0;

	while (i < view->count && view->tenants[i].group != group)
		i++;
	if (i == view->count)
		view->tenants[view->count++] = (struct token_tenant){.group = group};
	return &view->tenants[i];
}

static void add_slot(struct token_view *view, const struct token_segment *segment, unsigned slot)
{
	const struct token_slot *words = &segment->slots[slot];
	uint64_t group = word_load(&words->group);

	if (group == 0)
		return;
	struct token_tenant *tenant = tenant_of(view, group);
	if (tenant->processes++ == 0)
		tenant->entitlement = token_unpack(word_load(&words->entitlement));
	tenant->used_ns += word_load(&words->used_ns);
	tenant->has_token |= (word_load(&segment->holder) & 0xffff) == slot + 1;
}

bool token_peek(const char *path, struct token_view *ret_view, const char **ret_reason)
{
	int fd, saved_errno;

	if (!segment_file_peek(path, &token_kind, &fd, ret_reason))
		return false;
	saved_errno = errno;
	struct token_segment *segment = segment_file_map(fd, &token_kind, false);
	ret_view->count = 0;
	for (unsigned i = 0; segment != NULL && i < TOKEN_SLOTS; i++) {
		if (word_load(&segment->owners[i]) != 0 && !segment_file_is_free(fd, i))
			add_slot(ret_view, segment, i);
	}
	close(fd);
	errno = saved_errno;
	if (segment == NULL) {
		*ret_reason = "no memory to map it in";
		return false;
	}
	pages_free(segment, sizeof(*segment));
	return true;
}
