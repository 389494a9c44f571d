/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * A folder of a test's own with a policy/ and files in it, and settings read from there alone.
 */
#ifndef CUSLICE_TESTS_UNIT_TEST_CONFIG_TREE_H
#define CUSLICE_TESTS_UNIT_TEST_CONFIG_TREE_H

#include "config/config.h"

#include <stddef.h>

/* What the last tree_read() found. Big, so not on the stack of each test. */
extern struct config config;

/* cmocka fixtures: make and remove the folder. */
int tree_make(void **state);
int tree_remove(void **state);

/* The full name of a file there; static, valid until the fourth call after. */
const char *tree_path(const char *name);

/* Writes a file there, `policy/a.ini` for one; the first for bytes of any value. */
void tree_write_bytes(const char *name, const char *bytes, size_t len);
void tree_write(const char *name, const char *text);

/* Reads the policy/ there and up to 15 variables. */
void tree_read(char *const environment[]);
#define TREE_READ(...) tree_read((char *const[]){__VA_ARGS__, NULL})

/* What comes out for a device of 16 GiB and 100 SMs; 0 is no limit. */
uint64_t tree_memory(const struct config_device *device);
uint32_t tree_compute(const struct config_device *device);
uint64_t tree_burst(const struct config_device *device);

/* A device by number alone; nvidia-smi's 5 is nobody else's. */
#define DEVICE(n) (&(struct config_device){.number = (n)})
#define ANY       DEVICE(5)

#endif
