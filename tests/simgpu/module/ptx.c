/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Reads what PTX declares: entries, variables and shared memory. Instructions are passed over, so
 * a fault in one is not found: only the real assembler finds it.
 *
 * Shared memory declared outside of functions is charged to the entries that name it. One that
 * reaches it through a function only is not seen to.
 */
#include <stdlib.h>
#include <string.h>

#include "builder.h"
#include "parsers.h"
#include "ptx_variable.h"

/* A shared variable of the module. */
struct shared_variable {
	struct ptx_token name;
	uint64_t bytes, align;
	uint32_t charged_to; /* kernel_count when it was last charged: once an entry */
};

struct parser {
	struct ptx_lexer lexer;
	struct sim_module_image *image;
	struct shared_variable *shared;
	size_t shared_count;
	enum sim_module_status status; /* the first failure */
};

/* The sizes that grow while a body is read. */
struct frame {
	uint64_t shared_bytes, local_bytes;
};

static bool fail(struct parser *parser, enum sim_module_status status)
{
	parser->status = status;
	return false;
}

static bool is_ok(struct parser *parser, enum sim_module_status status)
{
	return status == SIM_MODULE_OK || fail(parser, status);
}

static bool expect(struct parser *parser, char character)
{
	return ptx_accept_punctuation(&parser->lexer, character) ||
	       fail(parser, SIM_MODULE_INVALID_PTX);
}

static void place(uint64_t *end, uint64_t bytes, uint64_t align)
{
	*end = (*end + align - 1) / align * align + bytes;
}

static bool skip_statement(struct parser *parser)
{
	while (!ptx_is_punctuation(&parser->lexer, ';')) {
		if (parser->lexer.token.kind == PTX_END)
			return fail(parser, SIM_MODULE_INVALID_PTX);
		ptx_advance(&parser->lexer);
	}
	return expect(parser, ';');
}

/* `.param` and its type: the current token is `.param`. */
static bool read_param(struct parser *parser, struct sim_kernel *kernel)
{
	struct ptx_type type;
	struct ptx_variable variable;
	uint64_t end = kernel->param_bytes;

	if (!ptx_is_directive(&parser->lexer, ".param"))
		return fail(parser, SIM_MODULE_INVALID_PTX);
	ptx_advance(&parser->lexer);
	if (!is_ok(parser, ptx_read_type(&parser->lexer, &type)) ||
		!is_ok(parser, ptx_read_variable(&parser->lexer, &type, &variable)))
		return false;
	if (variable.is_open || variable.bytes > SIM_PARAM_BYTES_MAX)
		return fail(parser, SIM_MODULE_INVALID_PTX);
	place(&end, variable.bytes, type.align);
	if (end > SIM_PARAM_BYTES_MAX)
		return fail(parser, SIM_MODULE_INVALID_PTX);
	kernel->param_bytes = (uint32_t)end;
	uint32_t offset = (uint32_t)(end - variable.bytes);
	return builder_set_param(kernel, kernel->param_count, offset, (uint32_t)variable.bytes) ||
	       fail(parser, SIM_MODULE_UNSUPPORTED);
}

static bool read_params(struct parser *parser, struct sim_kernel *kernel)
{
	if (!ptx_accept_punctuation(&parser->lexer, '('))
		return true;
	if (ptx_accept_punctuation(&parser->lexer, ')'))
		return true;
	do {
		if (!read_param(parser, kernel))
			return false;
	} while (ptx_accept_punctuation(&parser->lexer, ','));
	return expect(parser, ')');
}

/* `.maxntid x, y, z`; the trailing ones may be missing. */
static bool read_max_threads(struct parser *parser, struct sim_kernel *kernel)
{
	unsigned long long threads = 1, extent;

	do {
		ptx_advance(&parser->lexer); /* the directive or the comma */
		if (!ptx_token_integer(&parser->lexer.token, &extent) || extent > UINT16_MAX)
			return fail(parser, SIM_MODULE_INVALID_PTX);
		threads *= extent;
		if (threads > UINT32_MAX)
			return fail(parser, SIM_MODULE_INVALID_PTX);
		ptx_advance(&parser->lexer);
	} while (ptx_is_punctuation(&parser->lexer, ','));
	kernel->max_threads = (uint32_t)threads;
	return true;
}

/* What stands between parameters and body. Stops at `{` or `;`. */
static bool read_entry_directives(struct parser *parser, struct sim_kernel *kernel)
{
	struct ptx_lexer *lexer = &parser->lexer;

	while (!ptx_is_punctuation(lexer, '{') && !ptx_is_punctuation(lexer, ';')) {
		if (lexer->token.kind == PTX_END || lexer->token.kind == PTX_WORD)
			return fail(parser, SIM_MODULE_INVALID_PTX);
		if (ptx_is_directive(lexer, ".maxntid") || ptx_is_directive(lexer, ".reqntid")) {
			if (!read_max_threads(parser, kernel))
				return false;
		} else if (ptx_is_directive(lexer, ".pragma")) {
			if (!skip_statement(parser))
				return false;
		} else {
			ptx_advance(lexer);
		}
	}
	return true;
}

/* `.shared` or `.local` inside of a body: the current token is the type. */
static bool read_body_variables(struct parser *parser, uint64_t *end)
{
	struct ptx_type type;
	struct ptx_variable variable;

	if (!is_ok(parser, ptx_read_type(&parser->lexer, &type)))
		return false;
	do {
		if (!is_ok(parser, ptx_read_variable(&parser->lexer, &type, &variable)))
			return false;
		place(end, variable.bytes, type.align);
	} while (ptx_accept_punctuation(&parser->lexer, ','));
	return expect(parser, ';');
}

static void charge_shared(struct parser *parser, struct frame *frame)
{
	const struct ptx_token *word = &parser->lexer.token;

	for (size_t i = 0; i < parser->shared_count; i++) {
		struct shared_variable *shared = &parser->shared[i];
		if (shared->name.len != word->len ||
			memcmp(shared->name.text, word->text, word->len) != 0 ||
			shared->charged_to == parser->image->kernel_count)
			continue;
		shared->charged_to = parser->image->kernel_count;
		place(&frame->shared_bytes, shared->bytes, shared->align);
	}
}

/* One token of a body, or one declaration. */
static bool read_body_part(struct parser *parser, struct frame *frame)
{
	struct ptx_lexer *lexer = &parser->lexer;

	if (ptx_is_directive(lexer, ".loc") || ptx_is_directive(lexer, ".file")) {
		ptx_skip_line(lexer);
		return true;
	}
	if (ptx_is_directive(lexer, ".shared")) {
		ptx_advance(lexer);
		return read_body_variables(parser, &frame->shared_bytes);
	}
	if (ptx_is_directive(lexer, ".local")) {
		ptx_advance(lexer);
		return read_body_variables(parser, &frame->local_bytes);
	}
	if (lexer->token.kind == PTX_WORD)
		charge_shared(parser, frame);
	ptx_advance(lexer);
	return true;
}

/* From `{` to behind its `}`. */
static bool read_body(struct parser *parser, struct frame *frame)
{
	unsigned int depth = 0;

	do {
		if (parser->lexer.token.kind == PTX_END)
			return fail(parser, SIM_MODULE_INVALID_PTX);
		if (ptx_is_punctuation(&parser->lexer, '{'))
			depth++;
		else if (ptx_is_punctuation(&parser->lexer, '}'))
			depth--;
		if (!read_body_part(parser, frame))
			return false;
	} while (depth > 0);
	return true;
}

static bool skip_braces(struct parser *parser)
{
	unsigned int depth = 0;

	do {
		if (parser->lexer.token.kind == PTX_END)
			return fail(parser, SIM_MODULE_INVALID_PTX);
		if (ptx_is_punctuation(&parser->lexer, '{'))
			depth++;
		else if (ptx_is_punctuation(&parser->lexer, '}'))
			depth--;
		ptx_advance(&parser->lexer);
	} while (depth > 0);
	return true;
}

static bool define_kernel(
	struct parser *parser, const struct ptx_token *name, const struct sim_kernel *read)
{
	struct frame frame = {0};

	struct sim_kernel *kernel = builder_add_kernel(parser->image, name->text, name->len);
	if (!kernel)
		return fail(parser, SIM_MODULE_INVALID_PTX);
	kernel->param_count = read->param_count;
	kernel->params = read->params;
	kernel->param_bytes = read->param_bytes;
	kernel->max_threads = read->max_threads;
	if (!read_body(parser, &frame))
		return false;
	if (frame.shared_bytes > UINT32_MAX || frame.local_bytes > UINT32_MAX)
		return fail(parser, SIM_MODULE_INVALID_PTX);
	kernel->shared_bytes = (uint32_t)frame.shared_bytes;
	kernel->local_bytes = (uint32_t)frame.local_bytes;
	return true;
}

/* `.entry`. A prototype without a body says nothing new. */
static bool read_entry(struct parser *parser)
{
	struct sim_kernel kernel = {0};

	ptx_advance(&parser->lexer);
	struct ptx_token name = parser->lexer.token;
	if (name.kind != PTX_WORD)
		return fail(parser, SIM_MODULE_INVALID_PTX);
	ptx_advance(&parser->lexer);
	if (!read_params(parser, &kernel) || !read_entry_directives(parser, &kernel)) {
		free(kernel.params);
		return false;
	}
	if (ptx_accept_punctuation(&parser->lexer, ';')) {
		free(kernel.params);
		return true;
	}
	uint32_t count = parser->image->kernel_count;
	bool is_defined = define_kernel(parser, &name, &kernel);
	if (parser->image->kernel_count == count)
		free(kernel.params); /* nobody took them over */
	return is_defined;
}

static bool skip_function(struct parser *parser)
{
	struct ptx_lexer *lexer = &parser->lexer;

	while (!ptx_is_punctuation(lexer, '{') && !ptx_is_punctuation(lexer, ';')) {
		if (lexer->token.kind == PTX_END)
			return fail(parser, SIM_MODULE_INVALID_PTX);
		ptx_advance(lexer);
	}
	return ptx_accept_punctuation(lexer, ';') || skip_braces(parser);
}

static bool add_shared(
	struct parser *parser, const struct ptx_type *type, const struct ptx_variable *variable)
{
	struct shared_variable *shared =
		reallocarray(parser->shared, parser->shared_count + 1, sizeof(*shared));
	if (!shared)
		return fail(parser, SIM_MODULE_UNSUPPORTED);
	parser->shared = shared;
	shared[parser->shared_count++] = (struct shared_variable){
		.name = variable->name, .bytes = variable->bytes, .align = type->align};
	return true;
}

static bool read_global(
	struct parser *parser, const struct ptx_type *type, struct ptx_variable *variable)
{
	void *init = NULL;

	if (ptx_accept_punctuation(&parser->lexer, '=')) {
		if (!is_ok(parser, ptx_read_init(&parser->lexer, type, variable, &init)))
			return false;
	} else if (variable->is_open) {
		return fail(parser, SIM_MODULE_INVALID_PTX);
	}
	return builder_add_global(parser->image, variable->name.text, variable->name.len,
		       variable->bytes, init) ||
	       fail(parser, SIM_MODULE_INVALID_PTX);
}

/* `.global`, `.const` and `.shared` of the module, unless they are another module's. Texture,
 * sampler and surface references have no address: they are passed over. */
static bool read_variables(struct parser *parser, bool is_shared, bool is_extern)
{
	struct ptx_type type;
	struct ptx_variable variable;

	ptx_advance(&parser->lexer);
	if (!is_ok(parser, ptx_read_type(&parser->lexer, &type)))
		return false;
	if (is_extern || type.is_opaque)
		return skip_statement(parser);
	do {
		if (!is_ok(parser, ptx_read_variable(&parser->lexer, &type, &variable)))
			return false;
		if (is_shared ? !add_shared(parser, &type, &variable)
			      : !read_global(parser, &type, &variable))
			return false;
	} while (ptx_accept_punctuation(&parser->lexer, ','));
	return expect(parser, ';');
}

static bool skip_section(struct parser *parser)
{
	ptx_advance(&parser->lexer); /* .section */
	ptx_advance(&parser->lexer); /* its name, which begins with a dot */
	if (!ptx_is_punctuation(&parser->lexer, '{'))
		return fail(parser, SIM_MODULE_INVALID_PTX);
	return skip_braces(parser);
}

static bool skip_linkage(struct ptx_lexer *lexer, bool *ret_is_extern)
{
	*ret_is_extern = ptx_is_directive(lexer, ".extern");
	if (!*ret_is_extern && !ptx_is_directive(lexer, ".visible") &&
		!ptx_is_directive(lexer, ".weak") && !ptx_is_directive(lexer, ".common"))
		return false;
	ptx_advance(lexer);
	return true;
}

static bool read_declaration(struct parser *parser)
{
	struct ptx_lexer *lexer = &parser->lexer;
	bool is_extern;

	skip_linkage(lexer, &is_extern);
	if (ptx_is_directive(lexer, ".entry"))
		return read_entry(parser);
	if (ptx_is_directive(lexer, ".func"))
		return skip_function(parser);
	if (ptx_is_directive(lexer, ".shared"))
		return read_variables(parser, true, is_extern);
	if (ptx_is_directive(lexer, ".global") || ptx_is_directive(lexer, ".const"))
		return read_variables(parser, false, is_extern);
	if (ptx_is_directive(lexer, ".alias") || ptx_is_directive(lexer, ".pragma"))
		return skip_statement(parser);
	if (ptx_is_directive(lexer, ".section"))
		return skip_section(parser);
	if (ptx_is_directive(lexer, ".file") || ptx_is_punctuation(lexer, '@')) {
		ptx_skip_line(lexer); /* '@': @@DWARF of old compilers */
		return true;
	}
	return fail(parser, SIM_MODULE_INVALID_PTX);
}

/* `.version`, `.target` and, as a rule, `.address_size`. */
static bool read_preamble(struct parser *parser)
{
	unsigned long long bits;

	if (!ptx_is_directive(&parser->lexer, ".version"))
		return fail(parser, SIM_MODULE_INVALID_IMAGE); /* not even PTX */
	ptx_skip_line(&parser->lexer);
	if (!ptx_is_directive(&parser->lexer, ".target"))
		return fail(parser, SIM_MODULE_INVALID_PTX);
	ptx_skip_line(&parser->lexer);
	if (!ptx_is_directive(&parser->lexer, ".address_size"))
		return true;
	ptx_advance(&parser->lexer);
	if (!ptx_token_integer(&parser->lexer.token, &bits) || bits != 64)
		return fail(parser, SIM_MODULE_UNSUPPORTED);
	ptx_advance(&parser->lexer);
	return true;
}

enum sim_module_status ptx_parse(const char *text, struct sim_module_image *image)
{
	struct parser parser = {.image = image};

	image->is_ptx = true;
	ptx_lexer_init(&parser.lexer, text);
	bool is_read = read_preamble(&parser);
	while (is_read && parser.lexer.token.kind != PTX_END)
		is_read = read_declaration(&parser);
	free(parser.shared);
	image->launches_kernels = strstr(text, "cudaLaunchDevice") != NULL;
	return parser.status;
}
