/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * What the client programs share. They find the driver in one way or another, use it, and print
 * what it answered, one `key value...` a line, for the tests to compare with the same client run
 * without the preload, or with the account of the machine. Few know of cuslice, by cuslice.h.
 */
#ifndef CUSLICE_TESTS_PRELOAD_CLIENT_H
#define CUSLICE_TESTS_PRELOAD_CLIENT_H

#define __CUDA_API_VERSION_INTERNAL
#include "cuslice/cuslice.h"
#include <cuda.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MIB ((size_t)1 << 20)

struct functions {
#define FUNCTION(symbol, name, version) __typeof__(symbol) *symbol;
#include "functions.def"
#undef FUNCTION
};

/* Gives the address of a driver function, by its symbol, and by its name and version; NULL where
 * there is none. */
typedef void *resolver(void *data, const char *symbol, const char *name, int version);

/* Fills the table. Ends the program with a message where a function is missing. */
void functions_resolve(struct functions *ret_functions, resolver *resolve, void *data);

/* From dlopen(path) and dlsym(); returns the handle. */
void *functions_from_dlopen(struct functions *ret_functions, const char *path);

/* From the symbols that the program is linked with; only in programs that are (linked.c). */
void functions_from_link(struct functions *ret_functions);

/* One line on stdout, at once: nothing is lost where a program ends early, or printed twice where
 * it forks. Safe in a destructor. */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Ends the program with status 3 and a message unless `is_true`. */
void must_be(bool is_true, const char *what);

/* The same for a driver call. */
void must(CUresult result, const char *what);

/* The kernel `busy`, which takes no parameters and as long as the machine's setting
 * `kernel.busy=TIME` says, in the current context. */
CUfunction load_kernel(const struct functions *cu, CUmodule *ret_module);

/* One block of the kernel on the stream. */
CUresult launch(const struct functions *cu, CUfunction kernel, CUstream stream);

/* What cuslice.h says of a device; only where the library is preloaded. */
struct cuslice_slice read_slice(int device);
unsigned long long used_bytes(int device);

/* Says what is used of device 0, and waits until the test has looked at the account. */
void wait_for_test(const char *key);

/* CLOCK_MONOTONIC. */
uint64_t now_ns(void);

/* A host function of 2 ms, which allocations wait for; but only for 10 ms, and on a busy computer
 * it may have ended later than so long after a moment before it was launched. */
void CUDA_CB pause_2_ms(void *unused);
bool pause_was_late(uint64_t begun_ns);

/* A number of the program's arguments, or `otherwise` where there are fewer. */
unsigned long argument(int argc, char *argv[], int i, unsigned long otherwise);

#endif
