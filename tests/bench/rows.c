/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "rows.h"

#include <string.h>

const struct row rows[ROW_COUNT] = {
#define ROW(name, title, work, live, setup, calls, real_calls) \
	{name, title, WORK_##work, live, SETUP_##setup, calls, real_calls},
#include "rows.def"
#undef ROW
};

const struct row *row_find(const char *name)
{
	for (size_t i = 0; i < ROW_COUNT; i++) {
		if (strcmp(rows[i].name, name) == 0)
			return &rows[i];
	}
	return NULL;
}

bool row_is_process(const struct row *row)
{
	return row->work == WORK_INIT || row->work == WORK_START;
}

bool row_has_singles(const struct row *row)
{
	return row->work == WORK_LAUNCH || row->work == WORK_LAUNCH_LINKED;
}
