/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Damaged images. Each stands before a page that faults, so reading past its end kills the test.
 * The damage is the same in every run. Without nvcc only PTX is damaged.
 * TESTS_FULL=1 asks for more of it.
 */
#include <elf.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "parsers.h"
#include "test_support.h"

static unsigned int rounds(void)
{
	return getenv("TESTS_FULL") != NULL ? 20000 : 4000;
}

static uint32_t next_random(uint32_t *state)
{
	*state = *state * 1664525u + 1013904223u;
	return *state >> 8;
}

/* Half of the time a bit, else a byte that is likely to hurt. */
static unsigned char damaged_byte(unsigned char byte, uint32_t *random)
{
	static const unsigned char nasty[] = {0x00, 0x01, 0x7f, 0x80, 0xff};

	if (next_random(random) % 2)
		return (unsigned char)(byte ^ (1u << next_random(random) % 8));
	return nasty[next_random(random) % sizeof(nasty)];
}

/* Parse with each of rounds() small damages behind the first `keep` bytes. Nothing is asserted but
 * that it returns, and that an image comes with SIM_MODULE_OK alone. Returns how many were refused.
 */
static unsigned int parse_damaged(struct guarded *guarded, size_t keep, size_t keep_end)
{
	unsigned int refused = 0;
	const unsigned int end = rounds();
	uint32_t random = 1;

	for (unsigned int i = 0; i < end; i++) {
		size_t at = keep + next_random(&random) % (guarded->size - keep - keep_end);
		unsigned char old = guarded->data[at];
		struct sim_module_image *image = NULL;
		guarded->data[at] = damaged_byte(old, &random);
		enum sim_module_status status = sim_module_parse(guarded->data, &image);
		assert_true((status == SIM_MODULE_OK) == (image != NULL));
		refused += status != SIM_MODULE_OK;
		sim_module_free(image);
		guarded->data[at] = old;
	}
	return refused;
}

static struct guarded load_guarded(const char *directory, const char *name, size_t terminator)
{
	size_t size;
	void *data = load_file(directory, name, &size);
	if (!data)
		skip();
	struct guarded guarded = guarded_copy(data, size + terminator);
	free(data);
	return guarded;
}

static void damaged_ptx_stays_inside(void **state)
{
	(void)state;
	struct guarded guarded = load_guarded(SAMPLES_SOURCE_DIR, "samples.ptx", 1);

	unsigned int refused = parse_damaged(&guarded, 0, 1);

	assert_in_range(refused, 1, rounds() - 1);
	guarded_free(&guarded);
}

static void cut_ptx_stays_inside(void **state)
{
	(void)state;
	size_t size;
	char *text = load_file(SAMPLES_SOURCE_DIR, "samples.ptx", &size);
	assert_non_null(text);

	for (size_t len = 0; len < size; len++) {
		struct guarded guarded = guarded_copy(text, len + 1);
		struct sim_module_image *image = NULL;
		guarded.data[len] = '\0';
		sim_module_parse(guarded.data, &image);
		sim_module_free(image);
		guarded_free(&guarded);
	}
	free(text);
}

/* The fatbin's own header says how long it is, so that is left alone. */
static void damaged_fatbin_stays_inside(void **state)
{
	(void)state;
	struct guarded guarded = load_guarded(SAMPLES_BINARY_DIR, "samples.plain.fatbin", 0);

	unsigned int refused = parse_damaged(&guarded, 16, 0);

	assert_in_range(refused, 1, rounds() - 1);
	guarded_free(&guarded);
}

static void damaged_zstd_stays_inside(void **state)
{
	(void)state;
	struct guarded guarded = load_guarded(SAMPLES_BINARY_DIR, "samples.zstd.fatbin", 0);

	unsigned int refused = parse_damaged(&guarded, 16, 0);

	assert_in_range(refused, 1, rounds());
	guarded_free(&guarded);
}

/* Its section table is damaged most, where offsets and sizes stand. */
static void damaged_cubin_stays_inside(void **state)
{
	(void)state;
	struct guarded guarded = load_guarded(SAMPLES_BINARY_DIR, "samples.sm_90.cubin", 0);
	Elf64_Ehdr header;
	memcpy(&header, guarded.data, sizeof(header));

	unsigned int in_body = parse_damaged(&guarded, sizeof(header), 0);
	unsigned int in_sections = parse_damaged(&guarded, header.e_shoff, 0);

	assert_in_range(in_body, 1, rounds() - 1);
	assert_in_range(in_sections, in_body, rounds() - 1);
	guarded_free(&guarded);
}

static void cubin_with_a_section_outside_is_invalid(void **state)
{
	(void)state;
	struct guarded guarded = load_guarded(SAMPLES_BINARY_DIR, "samples.sm_90.cubin", 0);
	struct sim_module_image *image = NULL;
	Elf64_Ehdr header;
	Elf64_Shdr section;
	memcpy(&header, guarded.data, sizeof(header));
	size_t at = header.e_shoff + sizeof(section); /* the first one is the null section */
	memcpy(&section, guarded.data + at, sizeof(section));

	section.sh_size = guarded.size - section.sh_offset + 1;
	memcpy(guarded.data + at, &section, sizeof(section));

	assert_int_equal(SIM_MODULE_INVALID_IMAGE, sim_module_parse(guarded.data, &image));
	guarded_free(&guarded);
}

static void elf_of_another_machine_is_invalid(void **state)
{
	(void)state;
	struct sim_module_image *image = NULL;
	Elf64_Ehdr header = {.e_machine = EM_X86_64, .e_shentsize = sizeof(Elf64_Shdr)};
	memcpy(header.e_ident, ELFMAG, SELFMAG);
	header.e_ident[EI_CLASS] = ELFCLASS64;
	struct guarded guarded = guarded_copy(&header, sizeof(header));

	assert_int_equal(SIM_MODULE_INVALID_IMAGE, sim_module_parse(guarded.data, &image));
	guarded_free(&guarded);
}

static void fatbin_without_entries_is_unsupported(void **state)
{
	(void)state;
	struct sim_module_image *image = NULL;
	const struct {
		uint32_t magic;
		uint16_t version, header_size;
		uint64_t size;
	} header = {FATBIN_MAGIC, 1, 16, 0};
	struct guarded guarded = guarded_copy(&header, sizeof(header));

	assert_int_equal(SIM_MODULE_UNSUPPORTED, sim_module_parse(guarded.data, &image));
	guarded_free(&guarded);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(damaged_ptx_stays_inside),
		cmocka_unit_test(cut_ptx_stays_inside),
		cmocka_unit_test(damaged_fatbin_stays_inside),
		cmocka_unit_test(damaged_zstd_stays_inside),
		cmocka_unit_test(damaged_cubin_stays_inside),
		cmocka_unit_test(cubin_with_a_section_outside_is_invalid),
		cmocka_unit_test(elf_of_another_machine_is_invalid),
		cmocka_unit_test(fatbin_without_entries_is_unsupported),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
