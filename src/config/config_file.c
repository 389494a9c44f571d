/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "config/config_file.h"
#include "config/config_parse.h"

#include <errno.h>
#include <fcntl.h>
#include <ini.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* inih cuts what is longer without a word, so it is never given more. */
_Static_assert(CONFIG_LONGEST_LINE + 3 <= INI_MAX_LINE, "a line has to fit into inih's buffer");

#define TOO_LARGE "it is larger than 1 MiB"

/* What a line may still become, once it has been read. */
enum awaited {
	NOTHING,  /* blank, a comment, a section, or already found wrong */
	A_SETTING /* inih has to find a key and a value in it */
};

struct stream {
	struct config *config;
	struct config_value place; /* the source, the file, the section's devices, the line */
	enum { BEFORE_SECTIONS, IN_SLICE, IN_DEVICE, IN_UNKNOWN } section;
	unsigned first_value; /* of this file, in config->values */
	int fd;
	size_t bytes_read;
	char buffer[4096];
	size_t buffer_at, buffer_len;
	char line[CONFIG_LONGEST_LINE + 1];
	enum awaited awaited;
};

/* With the place in front: `/etc/cuslice/site.ini:3: ...`. */
#define problem_at_line(stream, format, ...)                                           \
	config_add_problem_in((stream)->config, (stream)->place.source, "%s: " format, \
		config_value_origin((stream)->config, &(stream)->place).text, __VA_ARGS__)

static bool is_blank(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

/* The next byte of the file, -1 at its end. */
static int next_byte(struct stream *stream)
{
	if (stream->buffer_at == stream->buffer_len) {
		/* A file may have grown since its size was looked at. */
		if (stream->bytes_read > CONFIG_LONGEST_FILE)
			return -1;
		ssize_t len;
		do {
			len = read(stream->fd, stream->buffer, sizeof(stream->buffer));
		} while (len < 0 && errno == EINTR);
		if (len < 0)
			config_add_problem_in(stream->config, stream->place.source, "%.200s: %s",
				stream->config->files[stream->place.file].path, strerror(errno));
		if (len <= 0)
			return -1;
		stream->bytes_read += (size_t)len;
		stream->buffer_at = 0;
		stream->buffer_len = (size_t)len;
	}
	return (unsigned char)stream->buffer[stream->buffer_at++];
}

/* Windows editors put a mark of three bytes in front of the first line. inih takes a blank at the
 * start for the continuation of the line before: here it is only a blank. */
static char *start_of_line(struct stream *stream)
{
	char *start = stream->line;

	if (stream->place.line == 1 && strncmp(start, "\xef\xbb\xbf", 3) == 0)
		start += 3;
	while (is_blank(*start))
		start++;
	return start;
}

/* Reads one line into stream->line, without blanks around it; false at the end of the file. What
 * cannot be a line is a problem, and empty. */
static bool read_line(struct stream *stream)
{
	size_t len = 0;
	bool has_nul = false;
	int c = next_byte(stream);

	if (c < 0)
		return false;
	stream->place.line++;
	for (; c >= 0 && c != '\n'; c = next_byte(stream)) {
		has_nul |= c == '\0';
		if (len < CONFIG_LONGEST_LINE)
			stream->line[len] = (char)c;
		len++;
	}
	if (has_nul || len > CONFIG_LONGEST_LINE) {
		problem_at_line(stream, "%s",
			has_nul ? "a NUL byte in the line; this is no text"
				: "longer than 190 characters");
		stream->line[len < CONFIG_LONGEST_LINE ? len : CONFIG_LONGEST_LINE] = '\0';
		/* What follows is not for the section before. */
		if (*start_of_line(stream) == '[')
			stream->section = IN_UNKNOWN;
		len = 0;
	}
	while (len > 0 && is_blank(stream->line[len - 1]))
		len--;
	stream->line[len] = '\0';
	return true;
}

/* `slice`, `device 0`, `device GPU-<uuid>`. */
static bool parse_section(struct stream *stream, const char *name, size_t len)
{
	if (len == 5 && strncmp(name, "slice", 5) == 0) {
		stream->section = IN_SLICE;
		stream->place.devices = (struct config_devices){.by = CONFIG_EVERY_DEVICE};
		return true;
	}
	if (len < 8 || strncmp(name, "device", 6) != 0 || !is_blank(name[6]))
		return false;
	for (name += 6, len -= 6; len > 0 && is_blank(*name); len--)
		name++;
	stream->section = IN_DEVICE;
	return config_parse_device(name, len, &stream->place.devices);
}

/* inih takes `[x] y` for a section and cuts long names, so sections are read here; the keys of one
 * that is not understood are passed over, for what they are meant for is not known. */
static void read_section(struct stream *stream, const char *line)
{
	const char *end = strchr(line, ']');
	const char *name = line + 1;

	stream->section = IN_UNKNOWN;
	if (end == NULL) {
		problem_at_line(stream, "\"%.80s\": a ] is missing", line);
		return;
	}
	const char *rest = end + 1;
	while (is_blank(*rest))
		rest++;
	if (*rest != '\0' && *rest != ';' && *rest != '#') {
		problem_at_line(stream, "\"%.80s\": nothing may stand behind the ]", line);
		return;
	}
	while (is_blank(*name))
		name++;
	while (end > name && is_blank(end[-1]))
		end--;
	if (!parse_section(stream, name, (size_t)(end - name))) {
		stream->section = IN_UNKNOWN;
		problem_at_line(stream,
			"\"%.80s\": no such section; use [slice], [device 0] to [device %d], "
			"[device GPU-<uuid>] or [device MIG-<uuid>]",
			line, CONFIG_MAX_DEVICES - 1);
	}
}

/* inih found no key and value in the last line where one had to be. */
static void settle_last_line(struct stream *stream)
{
	if (stream->awaited == A_SETTING)
		problem_at_line(
			stream, "\"%.80s\": neither a [section] nor key = value", stream->line);
	stream->awaited = NOTHING;
}

/* Lines for inih, as fgets gives them. */
static char *give_line(char *ret_line, int size, void *context)
{
	struct stream *stream = context;

	settle_last_line(stream);
	if (!read_line(stream))
		return NULL;
	const char *line = start_of_line(stream);
	*ret_line = '\0';
	if (*line == '[')
		read_section(stream, line);
	if (*line == '\0' || *line == '[' || *line == ';' || *line == '#')
		return ret_line;
	stream->awaited = A_SETTING;
	snprintf(ret_line, (size_t)size, "%s\n", line);
	return ret_line;
}

static bool find_key(const char *name, enum config_key *ret_key)
{
	for (unsigned i = 0; i < CONFIG_KEY_COUNT; i++) {
		if (strcmp(name, config_key_name(i).text) == 0) {
			*ret_key = (enum config_key)i;
			return true;
		}
	}
	return false;
}

static bool is_same_place(const struct config_value *a, const struct config_value *b)
{
	const struct config_devices *x = &a->devices, *y = &b->devices;

	return a->key == b->key && x->by == y->by && x->number == y->number &&
	       memcmp(x->uuid, y->uuid, CONFIG_UUID_LEN) == 0;
}

/* The line of this file that has set the same already, 0 where there is none. */
static unsigned line_of_twin(const struct stream *stream)
{
	const struct config *config = stream->config;

	for (unsigned i = stream->first_value; i < config->value_count; i++) {
		if (is_same_place(&config->values[i], &stream->place))
			return config->values[i].line;
	}
	return 0;
}

/* Why the key cannot stand in this section, NULL where it can. */
static const char *misplaced(const struct stream *stream, enum config_key key)
{
	if (stream->section == BEFORE_SECTIONS)
		return "it stands before the first section; write [slice] above it";
	if (config_options[key].scope == CONFIG_SCOPE_VARIABLE)
		return "it can be set in the environment alone";
	if (stream->section == IN_DEVICE && config_options[key].scope != CONFIG_SCOPE_DEVICE)
		return "it is for all devices together; write it below [slice]";
	return NULL;
}

static int take_setting(void *context, const char *section, const char *name, const char *text)
{
	struct stream *stream = context;
	struct config_value *place = &stream->place;

	(void)section;
	stream->awaited = NOTHING;
	if (stream->section == IN_UNKNOWN)
		return 1;
	if (!find_key(name, &place->key)) {
		problem_at_line(stream, "\"%.40s\": no such setting; there are %s", name,
			config_known_keys(stream->section == IN_DEVICE).text);
		return 1;
	}
	const char *reason = misplaced(stream, place->key);
	if (reason == NULL)
		reason = config_parse_value(text, place);
	if (reason != NULL) {
		problem_at_line(stream, "%.40s = \"%.80s\": %s", name, text, reason);
		return 1;
	}
	unsigned twin = line_of_twin(stream);
	if (twin != 0)
		problem_at_line(stream, "%s is set already, in line %u", name, twin);
	else
		config_add_value(stream->config, place);
	return 1;
}

/* Only a plain file: a FIFO or a terminal could keep the program waiting. Returns a reason against
 * the open file, or NULL. */
static const char *find_objection(int fd)
{
	struct stat info;

	/* glibc's fstat() is a symbol that no glibc before 2.33 has. */
	if (syscall(SYS_fstat, fd, &info) != 0)
		return strerror(errno);
	if (S_ISDIR(info.st_mode))
		return "it is a folder";
	if (!S_ISREG(info.st_mode))
		return "it is no plain file";
	return info.st_size > CONFIG_LONGEST_FILE ? TOO_LARGE : NULL;
}

static void parse_stream(struct stream *stream)
{
	/* What it returns says less than what has been noted on the way. */
	(void)ini_parse_stream(give_line, stream, take_setting, stream);
	if (stream->bytes_read > CONFIG_LONGEST_FILE)
		config_add_problem_in(stream->config, stream->place.source, "%.200s: %s",
			stream->config->files[stream->place.file].path, TOO_LARGE);
}

/* The slot of a new file, NULL where there are too many. */
static struct config_file *add_file(
	struct config *config, enum config_source source, const char *path)
{
	if (config->file_count == CONFIG_MAX_FILES || strlen(path) >= CONFIG_PATH_LEN) {
		config_add_problem_in(config, source, "%.200s: %s", path,
			config->file_count == CONFIG_MAX_FILES ? "more than 24 files"
							       : "its name is too long");
		return NULL;
	}
	struct config_file *file = &config->files[config->file_count++];
	file->source = source;
	snprintf(file->path, sizeof(file->path), "%s", path);
	return file;
}

void config_file_read(
	struct config *config, enum config_source source, const char *path, bool may_be_absent)
{
	struct stream stream;

	struct config_file *file = add_file(config, source, path);
	if (file == NULL)
		return;
	stream.fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (stream.fd < 0) {
		bool is_absent = errno == ENOENT || errno == ENOTDIR || errno == EACCES;
		if (!is_absent || !may_be_absent)
			config_add_problem_in(config, source, "%.200s: %s", path, strerror(errno));
		return;
	}
	const char *reason = find_objection(stream.fd);
	if (reason != NULL) {
		config_add_problem_in(config, source, "%.200s: %s", path, reason);
		close(stream.fd);
		return;
	}
	file->is_read = true;
	stream.config = config;
	stream.place = (struct config_value){.source = source, .file = config->file_count - 1};
	stream.section = BEFORE_SECTIONS;
	stream.first_value = config->value_count;
	stream.bytes_read = stream.buffer_at = stream.buffer_len = 0;
	stream.awaited = NOTHING;
	parse_stream(&stream);
	close(stream.fd);
}
