/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Reads cubins: ELF64 files of the CUDA architecture. The names of sections and attributes are
 * those that cuobjdump -elf prints; the layouts were read off the output of nvcc 13.0 for sm_75 to
 * sm_100.
 *
 *   .nv.info            registers and stack, by symbol
 *   .nv.info.KERNEL     parameters and launch bounds
 *   .nv.shared.KERNEL   static shared memory
 *   .nv.global.init, .nv.global, .nv.constant3    variables, initialised, zero and constant
 *
 * Initialisers that hold an address (a relocation) keep the zero that stands in the file.
 */
#include <elf.h>
#include <stdlib.h>
#include <string.h>

#include "builder.h"
#include "parsers.h"

#define EM_CUDA_MACHINE   190
#define STO_CUDA_ENTRY    0x10 /* of st_other: the symbol is a kernel */
#define ELFABIVERSION_NEW 8    /* from CUDA 13 on; it moved the architecture in e_flags */
#define RESERVED_SHARED   1024 /* of every block, from sm_90 on: the system's */

/* Formats of an attribute: where its value stands. */
enum { EIFMT_NVAL = 1, EIFMT_BVAL, EIFMT_HVAL, EIFMT_SVAL };

enum {
	EIATTR_MAX_THREADS = 0x05,
	EIATTR_PARAM_CBANK = 0x0a,
	EIATTR_FRAME_SIZE = 0x11,
	EIATTR_MIN_STACK_SIZE = 0x12,
	EIATTR_KPARAM_INFO = 0x17,
	EIATTR_CBANK_PARAM_SIZE = 0x19,
	EIATTR_REGCOUNT = 0x2f,
	EIATTR_KPARAM_INFO_V2 = 0x45, /* from CUDA 12.1 on, where parameters exceed 4 KiB */
};

struct bytes {
	const unsigned char *data;
	size_t size;
};

struct cubin {
	struct bytes file;
	Elf64_Ehdr header;
	Elf64_Shdr symtab;
	struct bytes section_names, symbols, symbol_names;
	bool reserves_shared;
};

struct attribute {
	unsigned int format, id;
	uint16_t value;       /* BVAL and HVAL */
	struct bytes payload; /* SVAL */
};

static uint16_t read_u16(const unsigned char *data)
{
	uint16_t value;
	memcpy(&value, data, sizeof(value));
	return value;
}

static uint32_t read_u32(const unsigned char *data)
{
	uint32_t value;
	memcpy(&value, data, sizeof(value));
	return value;
}

static bool slice(struct bytes whole, uint64_t offset, uint64_t size, struct bytes *ret_part)
{
	if (offset > whole.size || size > whole.size - offset)
		return false;
	*ret_part = (struct bytes){whole.data + offset, (size_t)size};
	return true;
}

/* The string at `offset`, or NULL if it does not end inside of the table. */
static const char *string_at(struct bytes strings, uint32_t offset)
{
	if (offset >= strings.size || !memchr(strings.data + offset, 0, strings.size - offset))
		return NULL;
	return (const char *)strings.data + offset;
}

/* Sections are validated once, by open_cubin: from then on this cannot fail. */
static Elf64_Shdr section_at(const struct cubin *cubin, unsigned int index)
{
	Elf64_Shdr section;
	memcpy(&section, cubin->file.data + cubin->header.e_shoff + index * sizeof(section),
		sizeof(section));
	return section;
}

static const char *section_name(const struct cubin *cubin, const Elf64_Shdr *section)
{
	return string_at(cubin->section_names, section->sh_name);
}

static struct bytes section_bytes(const struct cubin *cubin, const Elf64_Shdr *section)
{
	struct bytes part = {0};

	if (section->sh_type != SHT_NOBITS)
		slice(cubin->file, section->sh_offset, section->sh_size, &part);
	return part;
}

static bool find_section(
	const struct cubin *cubin, const char *prefix, const char *suffix, Elf64_Shdr *ret_section)
{
	size_t len = strlen(prefix);

	for (unsigned int i = 0; i < cubin->header.e_shnum; i++) {
		Elf64_Shdr section = section_at(cubin, i);
		const char *name = section_name(cubin, &section);
		if (strncmp(name, prefix, len) == 0 && strcmp(name + len, suffix) == 0) {
			*ret_section = section;
			return true;
		}
	}
	return false;
}

static size_t symbol_count(const struct cubin *cubin)
{
	return cubin->symbols.size / sizeof(Elf64_Sym);
}

static Elf64_Sym symbol_at(const struct cubin *cubin, size_t index)
{
	Elf64_Sym symbol;
	memcpy(&symbol, cubin->symbols.data + index * sizeof(symbol), sizeof(symbol));
	return symbol;
}

static const char *symbol_name(const struct cubin *cubin, const Elf64_Sym *symbol)
{
	return string_at(cubin->symbol_names, symbol->st_name);
}

static bool header_is_cuda(const Elf64_Ehdr *header)
{
	return memcmp(header->e_ident, ELFMAG, SELFMAG) == 0 &&
	       header->e_ident[EI_CLASS] == ELFCLASS64 && header->e_machine == EM_CUDA_MACHINE &&
	       header->e_shentsize == sizeof(Elf64_Shdr);
}

size_t cubin_size(const void *data)
{
	Elf64_Ehdr header;
	memcpy(&header, data, sizeof(header));
	if (!header_is_cuda(&header))
		return 0;
	uint64_t sections = header.e_shoff + (uint64_t)header.e_shnum * header.e_shentsize;
	uint64_t programs = header.e_phoff + (uint64_t)header.e_phnum * header.e_phentsize;
	return sections > programs ? sections : programs;
}

static bool sections_are_inside(const struct cubin *cubin)
{
	struct bytes part;

	for (unsigned int i = 0; i < cubin->header.e_shnum; i++) {
		Elf64_Shdr section = section_at(cubin, i);
		if (!section_name(cubin, &section))
			return false;
		if (section.sh_type != SHT_NOBITS &&
			!slice(cubin->file, section.sh_offset, section.sh_size, &part))
			return false;
	}
	return true;
}

static bool symbols_are_named(const struct cubin *cubin)
{
	for (size_t i = 0; i < symbol_count(cubin); i++) {
		Elf64_Sym symbol = symbol_at(cubin, i);
		if (!symbol_name(cubin, &symbol))
			return false;
	}
	return true;
}

static bool open_symbols(struct cubin *cubin)
{
	Elf64_Shdr symtab, names;

	if (!find_section(cubin, ".symtab", "", &symtab) || symtab.sh_link >= cubin->header.e_shnum)
		return false;
	names = section_at(cubin, symtab.sh_link);
	cubin->symbols = section_bytes(cubin, &symtab);
	cubin->symbol_names = section_bytes(cubin, &names);
	return symbols_are_named(cubin);
}

static bool open_cubin(const void *data, size_t size, struct cubin *ret_cubin)
{
	struct cubin cubin = {.file = {data, size}};
	struct bytes table;

	if (size < sizeof(cubin.header))
		return false;
	memcpy(&cubin.header, data, sizeof(cubin.header));
	uint64_t table_size = (uint64_t)cubin.header.e_shnum * sizeof(Elf64_Shdr);
	if (!header_is_cuda(&cubin.header) ||
		!slice(cubin.file, cubin.header.e_shoff, table_size, &table) ||
		cubin.header.e_shstrndx >= cubin.header.e_shnum)
		return false;
	Elf64_Shdr names = section_at(&cubin, cubin.header.e_shstrndx);
	cubin.section_names = section_bytes(&cubin, &names);
	if (!sections_are_inside(&cubin) || !open_symbols(&cubin))
		return false;
	*ret_cubin = cubin;
	return true;
}

static uint32_t architecture(const Elf64_Ehdr *header)
{
	if (header->e_ident[EI_ABIVERSION] >= ELFABIVERSION_NEW)
		return (header->e_flags >> 8) & 0xff;
	return header->e_flags & 0xff;
}

/* Takes the attribute at the head of `info` off it. False at the end, and where it is cut. */
static bool next_attribute(struct bytes *info, struct attribute *ret_attribute)
{
	struct attribute attribute = {0};
	size_t size = 4;

	if (info->size < size)
		return false;
	attribute.format = info->data[0];
	attribute.id = info->data[1];
	attribute.value = read_u16(info->data + 2);
	if (attribute.format == EIFMT_SVAL) {
		if (!slice(*info, 4, attribute.value, &attribute.payload))
			return false;
		size += attribute.value;
	}
	info->data += size;
	info->size -= size;
	*ret_attribute = attribute;
	return true;
}

/* KPARAM_INFO: u32 index, u16 ordinal, u16 offset, u32 with the size above bit 18.
 * KPARAM_INFO_V2: the same, but the size is the last word's lower 24 bits; above
 * them sm_100 keeps what kind of pointer it is. */
static bool add_param(struct sim_kernel *kernel, const struct attribute *attribute)
{
	if (attribute->payload.size < 12)
		return false;
	const unsigned char *data = attribute->payload.data;
	uint32_t size = read_u32(data + 8);
	size = attribute->id == EIATTR_KPARAM_INFO ? size >> 18 : size & 0xffffff;
	uint32_t ordinal = read_u16(data + 4);
	uint32_t offset = read_u16(data + 6);
	if (ordinal >= SIM_PARAM_BYTES_MAX || offset > SIM_PARAM_BYTES_MAX ||
		size > SIM_PARAM_BYTES_MAX - offset)
		return false;
	return builder_set_param(kernel, ordinal, offset, size);
}

static bool read_max_threads(struct sim_kernel *kernel, struct bytes payload)
{
	if (payload.size < 12)
		return false;
	uint64_t threads = 1;
	for (unsigned int i = 0; i < 3; i++) {
		uint32_t extent = read_u32(payload.data + 4 * i);
		if (extent > UINT16_MAX)
			return false;
		threads *= extent;
	}
	kernel->max_threads = threads > UINT32_MAX ? UINT32_MAX : (uint32_t)threads;
	return true;
}

static bool apply_attribute(struct sim_kernel *kernel, const struct attribute *attribute)
{
	switch (attribute->id) {
	case EIATTR_KPARAM_INFO:
	case EIATTR_KPARAM_INFO_V2:
		return add_param(kernel, attribute);
	case EIATTR_CBANK_PARAM_SIZE:
		kernel->param_bytes = attribute->value;
		return true;
	case EIATTR_PARAM_CBANK: /* u32 symbol, u16 offset, u16 size */
		if (attribute->payload.size < 8)
			return false;
		kernel->param_bytes = read_u16(attribute->payload.data + 6);
		return true;
	case EIATTR_MAX_THREADS:
		return read_max_threads(kernel, attribute->payload);
	default:
		return true;
	}
}

static bool params_are_inside(const struct sim_kernel *kernel)
{
	for (uint32_t i = 0; i < kernel->param_count; i++) {
		struct sim_param param = kernel->params[i];
		if (param.offset + param.size > kernel->param_bytes)
			return false;
	}
	return true;
}

static bool read_kernel_info(const struct cubin *cubin, struct sim_kernel *kernel)
{
	Elf64_Shdr section;
	struct attribute attribute;

	if (!find_section(cubin, ".nv.info.", kernel->name, &section))
		return true;
	struct bytes info = section_bytes(cubin, &section);
	while (next_attribute(&info, &attribute))
		if (!apply_attribute(kernel, &attribute))
			return false;
	return info.size == 0 && params_are_inside(kernel);
}

static uint32_t static_shared_bytes(const struct cubin *cubin, const char *kernel_name)
{
	Elf64_Shdr section;

	if (!find_section(cubin, ".nv.shared.", kernel_name, &section) ||
		section.sh_size > UINT32_MAX)
		return 0;
	uint32_t size = (uint32_t)section.sh_size;
	if (cubin->reserves_shared && size >= RESERVED_SHARED)
		return size - RESERVED_SHARED;
	return size;
}

static enum sim_module_status add_kernel(
	const struct cubin *cubin, const char *name, struct sim_module_image *image)
{
	struct sim_kernel *kernel = builder_add_kernel(image, name, strlen(name));
	if (!kernel || !read_kernel_info(cubin, kernel))
		return SIM_MODULE_INVALID_IMAGE;
	kernel->shared_bytes = static_shared_bytes(cubin, name);
	return SIM_MODULE_OK;
}

static bool section_holds_globals(const char *name)
{
	return strcmp(name, ".nv.global") == 0 || strcmp(name, ".nv.global.init") == 0 ||
	       strcmp(name, ".nv.constant3") == 0;
}

/* A copy of the variable's bytes, or NULL for zeroes. */
static bool copy_init(const struct cubin *cubin, const Elf64_Shdr *section, const Elf64_Sym *symbol,
	void **ret_init)
{
	struct bytes bytes;

	*ret_init = NULL;
	if (section->sh_type == SHT_NOBITS || symbol->st_size == 0)
		return true;
	if (!slice(section_bytes(cubin, section), symbol->st_value, symbol->st_size, &bytes))
		return false;
	*ret_init = malloc(bytes.size);
	if (!*ret_init)
		return false;
	memcpy(*ret_init, bytes.data, bytes.size);
	return true;
}

static enum sim_module_status add_global(const struct cubin *cubin, const Elf64_Sym *symbol,
	const char *name, struct sim_module_image *image)
{
	if (symbol->st_shndx >= cubin->header.e_shnum)
		return SIM_MODULE_OK;
	Elf64_Shdr section = section_at(cubin, symbol->st_shndx);
	if (!section_holds_globals(section_name(cubin, &section)))
		return SIM_MODULE_OK;
	void *init;
	if (!copy_init(cubin, &section, symbol, &init) ||
		!builder_add_global(image, name, strlen(name), symbol->st_size, init))
		return SIM_MODULE_INVALID_IMAGE;
	return SIM_MODULE_OK;
}

static enum sim_module_status read_symbols(
	const struct cubin *cubin, struct sim_module_image *image)
{
	for (size_t i = 0; i < symbol_count(cubin); i++) {
		enum sim_module_status status = SIM_MODULE_OK;
		Elf64_Sym symbol = symbol_at(cubin, i);
		const char *name = symbol_name(cubin, &symbol);
		unsigned int type = ELF64_ST_TYPE(symbol.st_info);
		if (type == STT_FUNC && (symbol.st_other & STO_CUDA_ENTRY))
			status = add_kernel(cubin, name, image);
		else if (type == STT_OBJECT)
			status = add_global(cubin, &symbol, name, image);
		if (status != SIM_MODULE_OK)
			return status;
	}
	return SIM_MODULE_OK;
}

/* Attributes of .nv.info speak of a kernel by its symbol: u32 symbol, u32 value. */
static bool apply_module_attribute(const struct cubin *cubin, const struct attribute *attribute,
	struct sim_module_image *image)
{
	if (attribute->id != EIATTR_REGCOUNT && attribute->id != EIATTR_FRAME_SIZE &&
		attribute->id != EIATTR_MIN_STACK_SIZE)
		return true;
	if (attribute->payload.size < 8)
		return false;
	uint32_t index = read_u32(attribute->payload.data);
	uint32_t value = read_u32(attribute->payload.data + 4);
	if (index >= symbol_count(cubin))
		return false;
	Elf64_Sym symbol = symbol_at(cubin, index);
	const char *name = symbol_name(cubin, &symbol);
	struct sim_kernel *kernel = builder_find_kernel(image, name, strlen(name));
	if (!kernel)
		return true; /* of a device function */
	if (attribute->id == EIATTR_REGCOUNT)
		kernel->registers = value;
	else if (value > kernel->local_bytes)
		kernel->local_bytes = value;
	return true;
}

static bool read_module_info(const struct cubin *cubin, struct sim_module_image *image)
{
	Elf64_Shdr section;
	struct attribute attribute;

	if (!find_section(cubin, ".nv.info", "", &section))
		return true;
	struct bytes info = section_bytes(cubin, &section);
	while (next_attribute(&info, &attribute))
		if (!apply_module_attribute(cubin, &attribute, image))
			return false;
	return info.size == 0;
}

static bool has_symbol(const struct cubin *cubin, const char *name)
{
	for (size_t i = 0; i < symbol_count(cubin); i++) {
		Elf64_Sym symbol = symbol_at(cubin, i);
		if (strcmp(symbol_name(cubin, &symbol), name) == 0)
			return true;
	}
	return false;
}

enum sim_module_status cubin_parse(const void *data, size_t size, struct sim_module_image *image)
{
	struct cubin cubin;

	if (!open_cubin(data, size, &cubin))
		return SIM_MODULE_INVALID_IMAGE;
	if (cubin.header.e_type != ET_EXEC)
		return SIM_MODULE_UNSUPPORTED; /* relocatable: it wants cuLink first */
	image->sm = architecture(&cubin.header);
	cubin.reserves_shared = has_symbol(&cubin, ".nv.reservedSmem.offset0");
	enum sim_module_status status = read_symbols(&cubin, image);
	if (status != SIM_MODULE_OK)
		return status;
	return read_module_info(&cubin, image) ? SIM_MODULE_OK : SIM_MODULE_INVALID_IMAGE;
}
