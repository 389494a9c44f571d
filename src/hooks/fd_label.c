/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "hooks/fd_label.h"
#include "base/cancel.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Linux 3.15 and 3.17; older headers of C libraries lack them. */
#ifndef F_OFD_SETLK
#define F_OFD_SETLK 37
#endif

/* No file is so large. */
#define FIRST_LABEL (UINT64_C(1) << 62)
#define TEXT_BYTES  4096

uint64_t fd_label_make(void)
{
	uint64_t label = 0;
	int saved_errno = errno;

#ifdef SYS_getrandom
	if (syscall(SYS_getrandom, &label, sizeof(label), 0) != (long)sizeof(label))
		label = 0;
#endif
	errno = saved_errno;
	return label == 0 ? 0 : FIRST_LABEL | label % FIRST_LABEL;
}

void fd_label_write(int fd, uint64_t label)
{
	struct flock lock = {
		.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = (off_t)label, .l_len = 1};
	int saved_errno = errno;

	if (label != 0)
		(void)fcntl(fd, F_OFD_SETLK, &lock);
	errno = saved_errno;
}

/* 0 where the text is no number, or one that does not fit. */
static uint64_t number_of(const char *text)
{
	uint64_t number = 0;

	for (; *text >= '0' && *text <= '9'; text++) {
		if (number > (UINT64_MAX - 9) / 10)
			return 0;
		number = number * 10 + (uint64_t)(*text - '0');
	}
	return *text == '\0' ? number : 0;
}

/* `lock:	1: OFDLCK ADVISORY  READ -1 00:05:123 4693671547643874799 4693671547643874799`: the
 * first and the last byte stand at the end. */
static uint64_t label_of(char *line)
{
	char *rest = NULL, *first = NULL, *last = NULL;

	if (strncmp(line, "lock:", 5) != 0 || strstr(line, " OFDLCK ") == NULL ||
		strstr(line, " READ ") == NULL)
		return 0;
	for (char *word = strtok_r(line, " \t", &rest); word != NULL;
		word = strtok_r(NULL, " \t", &rest)) {
		first = last;
		last = word;
	}
	if (first == NULL || strcmp(first, last) != 0 || number_of(first) < FIRST_LABEL)
		return 0;
	return number_of(first);
}

static uint64_t find_label(char *text)
{
	uint64_t label = 0;
	char *rest = NULL;

	for (char *line = strtok_r(text, "\n", &rest); line != NULL && label == 0;
		line = strtok_r(NULL, "\n", &rest))
		label = label_of(line);
	return label;
}

static uint64_t read_label(int fd)
{
	char path[40], text[TEXT_BYTES];
	ssize_t length;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	int info = open(path, O_RDONLY | O_CLOEXEC);
	if (info < 0)
		return 0;
	do
		length = read(info, text, sizeof(text) - 1);
	while (length < 0 && errno == EINTR);
	close(info);
	if (length <= 0)
		return 0;
	text[length] = '\0';
	return find_label(text);
}

uint64_t fd_label_read(int fd)
{
	int saved_errno = errno;
	int cancel_state = cancel_hold();
	uint64_t label = read_label(fd);

	cancel_restore(cancel_state);
	errno = saved_errno;
	return label;
}
