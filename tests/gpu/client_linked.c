/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The client that is linked with -lcuda.
 */
#include "client.h"

#include <stdio.h>
#include <string.h>

bool client_find(const char *kind, struct client_driver *ret_driver)
{
	if (strcmp(kind, "linked") != 0) {
		fprintf(stderr, "no kind \"%s\"\n", kind);
		return false;
	}
	*ret_driver = (struct client_driver){
#define CLIENT_FIELD(name, version) .name = name,
		CLIENT_CALLS(CLIENT_FIELD)
#undef CLIENT_FIELD
	};
	return true;
}
