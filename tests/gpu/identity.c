/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * gpu-identity MAP [HOOKED]: asks the driver for every function of MAP (driver-procmap.csv) by its
 * symbol and by cuGetProcAddress, and prints one CSV line for each question. Routing goes by
 * address (src/entry), so both have to give the same one. With a library's file name as HOOKED it
 * also says whether the answer lies in that library.
 */
#include "probe.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_ROWS 2048

static struct row {
	char name[64], per_thread[16], symbol[64];
	int version;
	void *address; /* what dlsym gives for the symbol */
} rows[MAX_ROWS];
static size_t row_count;

static const char *const hooked[] = {
#define HOOK(symbol, since, features) #symbol,
#include "driver/hooks.def"
#undef HOOK
};

typedef CUresult proc_address_v1(const char *name, void **ret, int version, cuuint64_t flags);
typedef CUresult proc_address_v2(const char *name, void **ret, int version, cuuint64_t flags,
	CUdriverProcAddressQueryResult *status);

static void *libcuda;
static const char *hooking_library = "";
static proc_address_v1 *ask_v1;
static proc_address_v2 *ask_v2;

static bool is_hooked(const char *symbol)
{
	for (size_t i = 0; i < sizeof(hooked) / sizeof(hooked[0]); i++) {
		if (strcmp(hooked[i], symbol) == 0)
			return true;
	}
	return false;
}

static bool read_map(const char *path)
{
	char line[256];
	FILE *file = fopen(path, "r");

	if (file == NULL) {
		perror(path);
		return false;
	}
	while (row_count < MAX_ROWS && fgets(line, sizeof(line), file) != NULL) {
		struct row *row = &rows[row_count];
		if (sscanf(line, "%63[^,],%d,%15[^,],%63[^,\n]", row->name, &row->version,
			    row->per_thread, row->symbol) == 4)
			row_count++;
	}
	fclose(file);
	return row_count > 0;
}

static bool has_per_thread_row(const struct row *of)
{
	for (size_t i = 0; i < row_count; i++) {
		if (rows[i].version == of->version && strcmp(rows[i].name, of->name) == 0 &&
			rows[i].per_thread[0] == '_')
			return true;
	}
	return false;
}

/* Where an address leads to, in words. */
static const char *describe(const struct row *row, CUresult res, void *address)
{
	static char text[96];

	if (res != CUDA_SUCCESS) {
		snprintf(text, sizeof(text), "refused %d", (int)res);
		return text;
	}
	if (address == NULL)
		return "NULL";
	if (address == row->address)
		return "same";
	for (size_t i = 0; i < row_count; i++) {
		if (rows[i].address == address) {
			snprintf(text, sizeof(text), "other %s", rows[i].symbol);
			return text;
		}
	}
	return "unknown address";
}

static bool lies_in_library(void *address)
{
	Dl_info info;

	return address != NULL && dladdr(address, &info) != 0 && info.dli_fname != NULL &&
	       hooking_library[0] != '\0' && strstr(info.dli_fname, hooking_library) != NULL;
}

static void print_answer(const struct row *row, const char *when, const char *how, int flags,
	CUresult res, void *address)
{
	printf("%s,%d,%d,%s,%s,%s,%s,%s,%s\n", row->name, row->version, flags, row->symbol,
		is_hooked(row->symbol) ? "hooked" : "-", when, how, describe(row, res, address),
		lies_in_library(address) ? "library" : "driver");
}

static void ask(const struct row *row, const char *when, int flags)
{
	CUdriverProcAddressQueryResult status;
	void *address = NULL;
	CUresult res;

	if (ask_v2 != NULL) {
		res = ask_v2(row->name, &address, row->version, (cuuint64_t)flags, &status);
		print_answer(row, when, "cuGetProcAddress_v2", flags, res, address);
	}
	address = NULL;
	if (ask_v1 != NULL) {
		res = ask_v1(row->name, &address, row->version, (cuuint64_t)flags);
		print_answer(row, when, "cuGetProcAddress", flags, res, address);
	}
}

static void ask_all(const char *when)
{
	for (size_t i = 0; i < row_count; i++) {
		const struct row *row = &rows[i];
		bool is_per_thread = row->per_thread[0] == '_';
		if (!is_per_thread) {
			ask(row, when, CU_GET_PROC_ADDRESS_DEFAULT);
			ask(row, when, CU_GET_PROC_ADDRESS_LEGACY_STREAM);
		}
		if (is_per_thread || !has_per_thread_row(row))
			ask(row, when, CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM);
	}
}

int main(int argc, char *argv[])
{
	if (argc < 2 || argc > 3 || !read_map(argv[1])) {
		fprintf(stderr, "usage: %s MAP [HOOKED]\n", argv[0]);
		return 2;
	}
	if (argc == 3)
		hooking_library = argv[2];
	libcuda = dlopen("libcuda.so.1", RTLD_NOW);
	if (libcuda == NULL) {
		fprintf(stderr, "%s\n", dlerror());
		return PROBE_BROKEN;
	}
	ask_v1 = (proc_address_v1 *)dlsym(libcuda, "cuGetProcAddress");
	ask_v2 = (proc_address_v2 *)dlsym(libcuda, "cuGetProcAddress_v2");
	printf("name,version,flags,symbol,hooked,when,how,answer,where\n");
	for (size_t i = 0; i < row_count; i++) {
		rows[i].address = dlsym(libcuda, rows[i].symbol);
		print_answer(&rows[i], "-", "dlsym", 0, CUDA_SUCCESS, rows[i].address);
	}
	ask_all("before cuInit");
	CUresult (*init)(unsigned) = (CUresult(*)(unsigned))dlsym(libcuda, "cuInit");
	if (init == NULL || init(0) != CUDA_SUCCESS) {
		fprintf(stderr, "cuInit failed\n");
		return PROBE_BROKEN;
	}
	ask_all("after cuInit");
	return 0;
}
