/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "base/log.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum log_level log_level = LOG_WARN;

void log_set_level(enum log_level level)
{
	log_level = level;
}

/* The size of a signal set as the kernel has it. */
#define KERNEL_SIGSET_SIZE 8

/* Writes without ever raising SIGPIPE, which would end a program whose stderr is a pipe that nobody
 * reads any more: the signal is blocked meanwhile, and taken back if it was our write that made it.
 * By bare system calls, for libc's are cancellation points, at which a thread would end, perhaps
 * with a lock of ours. A program may have closed its stderr: there is nobody left to tell. */
static void write_line(const char *line, size_t len)
{
	sigset_t pipe_only, before, pending;
	const struct timespec no_wait = {0};

	sigemptyset(&pipe_only);
	sigaddset(&pipe_only, SIGPIPE);
	sigpending(&pending);
	sigprocmask(SIG_BLOCK, &pipe_only, &before);
	if (syscall(SYS_write, STDERR_FILENO, line, len) < 0 && errno == EPIPE &&
		!sigismember(&pending, SIGPIPE))
		syscall(SYS_rt_sigtimedwait, &pipe_only, NULL, &no_wait, KERNEL_SIGSET_SIZE);
	sigprocmask(SIG_SETMASK, &before, NULL);
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

	write_line(line, (size_t)len + 1);
	errno = saved_errno;
}
