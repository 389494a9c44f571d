/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * One line a message on stderr: `cuslice[pid] module: text`. Nothing is written below the chosen
 * level, and nothing at all in a program that gives us no reason to speak.
 */
#ifndef CUSLICE_BASE_LOG_H
#define CUSLICE_BASE_LOG_H

#include "base/compiler.h"

#include <stdbool.h>

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

/* The level in force; LOG_WARN until log_set_level(). */
extern enum log_level log_level;

/* Threads: any; meant to be called once, at start. */
void log_set_level(enum log_level level);

/* Writes one line with a single write(2), cut at 1000 bytes. Keeps errno. Threads: any. */
void log_write(const char *module, const char *format, ...) PRINTF_LIKE(2, 3);

/* The arguments are evaluated only where the level asks for the line. */
#define log_at(level, module, ...)                      \
	do {                                            \
		if (unlikely((level) <= log_level))     \
			log_write(module, __VA_ARGS__); \
	} while (0)

#endif
