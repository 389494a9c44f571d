/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

enum log_level log_level = LOG_WARN;

void log_set_level(enum log_level level)
{
	log_level = level;
}

void log_write(const char *module, const char *format, ...)
{
	int saved_errno = errno;
	char line[1000];
	va_list args;

	int len = snprintf(line, sizeof(line) - 1, "cuslice[%ld] %s: ", (long)getpid(), module);
	va_start(args, format);
	len += vsnprintf(line + len, sizeof(line) - 1 - (size_t)len, format, args);
	va_end(args);
	if (len > (int)sizeof(line) - 2)
		len = (int)sizeof(line) - 2;
	line[len] = '\n';

	/* A program may have closed its stderr: there is nobody left to tell. */
	if (write(STDERR_FILENO, line, (size_t)len + 1) < 0) {
	}
	errno = saved_errno;
}
