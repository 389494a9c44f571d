/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * For people: who is at a device. Reads only.
 */
#ifndef CUSLICE_TOKEN_TOKEN_VIEW_H
#define CUSLICE_TOKEN_TOKEN_VIEW_H

#include "token/token_protocol.h"

struct token_view {
	unsigned count; /* of tenants */
	struct token_tenant {
		uint64_t group;     /* a hash; equal for processes that spend a share together */
		unsigned processes; /* of it, that live */
		struct token_entitlement entitlement;
		uint64_t used_ns; /* GPU time billed to these, 584 years at most */
		bool has_token;
	} tenants[TOKEN_SLOTS];
};

/* Looks into the segment at `path`. False with a static text where it is none, or not there. */
bool token_peek(const char *path, struct token_view *ret_view, const char **ret_reason) MUST_CHECK;

#endif
