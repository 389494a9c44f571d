/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "group/segment_file.h"
#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Linux 3.15; older headers of C libraries lack them. */
#ifndef F_OFD_GETLK
#define F_OFD_GETLK 36
#define F_OFD_SETLK 37
#endif

/* O_NONBLOCK: what stands there may be a FIFO, and opening that would wait. */
#define OPEN_FLAGS (O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY)
#define MAX_PATH   4096
/* Others may remove the file while we open it, and make it while we do. */
#define ATTEMPTS 100

static const char *reason_of(int error)
{
	switch (error) {
	case ENOENT:
	case ENOTDIR:
		return "its directory does not exist";
	case EACCES:
	case EPERM:
		return "permission denied";
	case EROFS:
		return "its file system is read-only";
	case ELOOP:
	case EISDIR:
	case ENXIO:
		return "it is no regular file";
	case ENOSPC:
	case EDQUOT:
		return "there is no room for it in its file system (1.1 MiB are needed)";
	case EMFILE:
	case ENFILE:
		return "too many files are open";
	case EOPNOTSUPP:
		return "its file system cannot set room aside; use a tmpfs such as /dev/shm";
	}
	return "it cannot be opened or made";
}

const struct segment_kind segment_kind_group = {
	.magic = {'c', 'u', 's', 'l', 'i', 'c', 'e', '\n'},
	.version = SEGMENT_VERSION,
	.size = sizeof(struct segment),
	.slot_count = SEGMENT_SLOTS,
	.device_count = SEGMENT_DEVICES,
	.is_for_all = true,
};

static struct segment_header header_of(const struct segment_kind *kind)
{
	struct segment_header header = {
		.version = kind->version,
		.size = kind->size,
		.slot_count = kind->slot_count,
		.device_count = kind->device_count,
	};

	memcpy(header.magic, kind->magic, sizeof(header.magic));
	return header;
}

static const char *find_damage(const struct segment_header *header, const struct segment_kind *kind)
{
	if (memcmp(header->magic, kind->magic, sizeof(header->magic)) != 0)
		return "it is no segment of cuslice";
	if (header->version != kind->version)
		return "another version of cuslice made it; stop its processes and remove it";
	if (header->size != kind->size || header->slot_count != kind->slot_count ||
		header->device_count != kind->device_count)
		return "it is damaged; stop its processes and remove it";
	return NULL;
}

/* A reason why what is open is no segment, or NULL. */
static const char *check(int fd, const struct segment_kind *kind)
{
	struct segment_header header;
	struct stat status;

	if (fstat(fd, &status) != 0)
		return reason_of(errno);
	if (!S_ISREG(status.st_mode))
		return "it is no regular file";
	if (pread(fd, &header, sizeof(header), 0) != (ssize_t)sizeof(header))
		return "it is too short for a segment of cuslice; remove it";
	const char *reason = find_damage(&header, kind);
	if (reason == NULL && status.st_size != (off_t)kind->size)
		reason = "it has been cut; stop its processes and remove it";
	return reason;
}

/* Beyond this limit the kernel would not only refuse, but send a signal that ends the program. */
static bool is_within_file_limit(const struct segment_kind *kind)
{
	struct rlimit limit;

	return getrlimit(RLIMIT_FSIZE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY ||
	       limit.rlim_cur >= kind->size;
}

/* 0 or an errno. */
static int fill(int fd, const struct segment_kind *kind)
{
	struct segment_header header = header_of(kind);
	int res;

	do
		res = fallocate(fd, 0, 0, kind->size);
	while (res != 0 && errno == EINTR);
	if (res != 0)
		return errno;
	if (pwrite(fd, &header, sizeof(header), 0) != (ssize_t)sizeof(header))
		return EIO;
	/* By its directory root decides who may come here; its workers may be other users. The
	 * umask has been applied to what open() was given. */
	return fchmod(fd, kind->is_for_all && geteuid() == 0 ? 0666 : 0600) == 0 ? 0 : errno;
}

/* Ready to get its name. Who removes unused segments needs the locks of all bytes, and this one is
 * held until the maker closes the file: nobody removes it before its maker has a slot. */
static int complete(int fd, const struct segment_kind *kind)
{
	int error = fill(fd, kind);

	return error == 0 && !segment_file_lock(fd, kind->slot_count) ? EIO : error;
}

/* The file that got its name is the caller's. */
static int hand_out(int fd, int error, int *ret_fd)
{
	if (error == 0)
		*ret_fd = fd;
	else
		close(fd);
	return error;
}

/* Under a name that nobody looks for, where the file system knows no files without name. */
static int link_named(const char *path, const struct segment_kind *kind, int *ret_fd)
{
	char name[MAX_PATH + 40];

	snprintf(name, sizeof(name), "%s.%ld-%llx", path, (long)syscall(SYS_gettid),
		(unsigned long long)clock_now_ns());
	int fd = open(name, OPEN_FLAGS | O_RDWR | O_CREAT | O_EXCL, 0600);
	if (fd < 0)
		return errno;
	int error = complete(fd, kind);
	if (error == 0 && link(name, path) != 0)
		error = errno;
	unlink(name);
	return hand_out(fd, error, ret_fd);
}

/* Makes the file without a name, which a process that is killed meanwhile leaves nothing of, and
 * gives it its name when it is complete. By the descriptors of the calling thread: where the helper
 * has a table of its own, the process's has something of the program's at that number. 0 or an
 * errno; EEXIST where another was faster. */
static int make(const char *path, const struct segment_kind *kind, int *ret_fd)
{
	char directory[MAX_PATH], self[40];

	size_t length = (size_t)(strrchr(path, '/') - path);
	memcpy(directory, path, length);
	directory[length] = '\0';
	int fd = open(length == 0 ? "/" : directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (fd < 0)
		return errno == EOPNOTSUPP || errno == EISDIR ? link_named(path, kind, ret_fd)
							      : errno;
	int error = complete(fd, kind);
	snprintf(self, sizeof(self), "/proc/thread-self/fd/%d", fd);
	if (error == 0 && linkat(AT_FDCWD, self, AT_FDCWD, path, AT_SYMLINK_FOLLOW) != 0)
		error = errno;
	(void)hand_out(fd, error, ret_fd);
	return error == ENOENT || error == EXDEV ? link_named(path, kind, ret_fd) : error;
}

/* NULL or a reason. */
static const char *open_or_make(const char *path, const struct segment_kind *kind, int *ret_fd)
{
	for (int i = 0; i < ATTEMPTS; i++) {
		int fd = open(path, OPEN_FLAGS | O_RDWR);
		if (fd >= 0) {
			*ret_fd = fd;
			return NULL;
		}
		if (errno != ENOENT)
			return reason_of(errno);
		if (!is_within_file_limit(kind))
			return "the process may not make files of 1.1 MiB (RLIMIT_FSIZE)";
		int error = make(path, kind, ret_fd);
		if (error == 0)
			return NULL;
		if (error != EEXIST)
			return reason_of(error);
	}
	return "others keep removing it";
}

static const char *open_checked(const char *path, const struct segment_kind *kind, int *ret_fd)
{
	int fd = -1;

	if (path[0] != '/' || strlen(path) >= MAX_PATH)
		return "its name is not absolute, or too long";
	const char *reason = open_or_make(path, kind, &fd);
	if (reason != NULL)
		return reason;
	reason = check(fd, kind);
	if (reason != NULL)
		close(fd);
	else
		*ret_fd = fd;
	return reason;
}

bool segment_file_open(
	const char *path, const struct segment_kind *kind, int *ret_fd, const char **ret_reason)
{
	int saved_errno = errno;
	const char *reason = open_checked(path, kind, ret_fd);

	if (reason != NULL)
		*ret_reason = reason;
	errno = saved_errno;
	return reason == NULL;
}

bool segment_file_peek(
	const char *path, const struct segment_kind *kind, int *ret_fd, const char **ret_reason)
{
	int saved_errno = errno;
	const char *reason = NULL;
	int fd = open(path, OPEN_FLAGS | O_RDONLY);

	if (fd < 0)
		reason = errno == ENOENT ? "it does not exist" : reason_of(errno);
	else
		reason = check(fd, kind);
	if (reason == NULL)
		*ret_fd = fd;
	else if (fd >= 0)
		close(fd);
	if (reason != NULL)
		*ret_reason = reason;
	errno = saved_errno;
	return reason == NULL;
}

static bool is_file(const struct stat *status, const struct segment_file_id *id)
{
	return status->st_dev == id->device && status->st_ino == id->inode;
}

bool segment_file_identify(int fd, struct segment_file_id *ret_id)
{
	int saved_errno = errno;
	struct stat status;
	bool is_known = fstat(fd, &status) == 0;

	if (is_known)
		*ret_id = (struct segment_file_id){status.st_dev, status.st_ino};
	errno = saved_errno;
	return is_known;
}

bool segment_file_is(const char *path, const struct segment_file_id *id)
{
	int saved_errno = errno;
	struct stat status;
	bool is_same = lstat(path, &status) == 0 && is_file(&status, id);

	errno = saved_errno;
	return is_same;
}

bool segment_file_reopen(const char *path, const struct segment_file_id *id, int *ret_fd)
{
	int saved_errno = errno;
	struct stat status;
	int fd = open(path, OPEN_FLAGS | O_RDWR);
	bool is_same = fd >= 0 && fstat(fd, &status) == 0 && is_file(&status, id);

	if (is_same)
		*ret_fd = fd;
	else if (fd >= 0)
		close(fd);
	errno = saved_errno;
	return is_same;
}

void *segment_file_map(int fd, const struct segment_kind *kind, bool is_writable)
{
	int saved_errno = errno;
	int protection = is_writable ? PROT_READ | PROT_WRITE : PROT_READ;
	void *start = mmap(NULL, kind->size, protection, MAP_SHARED, fd, 0);

	if (start != MAP_FAILED)
		madvise(start, kind->size, MADV_DONTFORK);
	errno = saved_errno;
	return start == MAP_FAILED ? NULL : start;
}

static bool lock_byte(int fd, unsigned slot, short type)
{
	int saved_errno = errno;
	struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = slot, .l_len = 1};
	bool is_done = fcntl(fd, F_OFD_SETLK, &lock) == 0;

	errno = saved_errno;
	return is_done;
}

bool segment_file_lock(int fd, unsigned slot)
{
	return lock_byte(fd, slot, F_WRLCK);
}

void segment_file_unlock(int fd, unsigned slot)
{
	(void)lock_byte(fd, slot, F_UNLCK);
}

bool segment_file_is_free(int fd, unsigned slot)
{
	int saved_errno = errno;
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = slot, .l_len = 1};
	bool is_free = fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type == F_UNLCK;

	errno = saved_errno;
	return is_free;
}
