/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "model.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* In place of group/segment_words.h. */
#define CUSLICE_GROUP_SEGMENT_WORDS_H
typedef uint64_t segment_word;
static uint64_t word_load(const segment_word *word);
static void word_store(segment_word *word, uint64_t value);
static bool word_swap(segment_word *word, uint64_t seen, uint64_t wanted);
static void begin_loop(int line);
#define word_loop() begin_loop(__LINE__)
#include "group/segment_protocol.c"

#define MAX_WORDS  16
#define MAX_RECORD 16
#define MAX_VALUES 65536

enum status { IDLE, RUNNING, DEAD, REAPING, FREE };

/* Who is at a slot. Values are numbers of the table below, to keep moments small. */
struct actor {
	uint8_t status;
	uint8_t life; /* 0: the first process of the slot */
	uint8_t operation;
	uint8_t mine;  /* units that were granted */
	uint8_t limit; /* units + 1 that it has set; 0: none */
	uint8_t record_length;
	uint16_t record[MAX_RECORD];
};

struct moment {
	uint16_t words[MAX_WORDS];
	uint8_t deaths, reaper_deaths, rebirths;
	struct actor actors[MODEL_SLOTS];
} __attribute__((aligned(8)));

static const struct model *model;
static struct segment_device device;
static segment_word *words[MAX_WORDS]; /* those that are looked at; others read as 0 */
static unsigned word_count;

static uint64_t values[MAX_VALUES];
static uint16_t value_numbers[MAX_VALUES]; /* a hash of the number of each + 1 */
static unsigned value_count;

/* The function that is being run. */
static struct {
	struct actor *actor;
	unsigned position;
	bool has_stepped;
	int loop_line;
	unsigned loop_start;
	jmp_buf left;
} run;

static uint16_t number_of(uint64_t value)
{
	uint32_t i = (uint32_t)((value * 0x9e3779b97f4a7c15ull) >> 48);

	while (value_numbers[i] != 0 && values[value_numbers[i] - 1] != value)
		i = (i + 1) % MAX_VALUES;
	if (value_numbers[i] == 0) {
		if (value_count == MAX_VALUES / 2)
			abort();
		values[value_count++] = value;
		value_numbers[i] = (uint16_t)value_count;
	}
	return (uint16_t)(value_numbers[i] - 1);
}

static bool is_looked_at(const segment_word *word)
{
	for (unsigned i = 0; i < word_count; i++) {
		if (words[i] == word)
			return true;
	}
	return false;
}

/* True where the access is to be made now; false where *ret_value is what it gave. */
static bool is_next(uint64_t *ret_value)
{
	if (run.position < run.actor->record_length) {
		*ret_value = values[run.actor->record[run.position++]];
		return false;
	}
	if (run.has_stepped)
		longjmp(run.left, 1);
	run.has_stepped = true;
	return true;
}

static uint64_t record(uint64_t value)
{
	if (run.actor->record_length == MAX_RECORD)
		abort();
	run.actor->record[run.actor->record_length++] = number_of(value);
	run.position++;
	return value;
}

static void begin_loop(int line)
{
	if (run.loop_line != line) {
		run.loop_line = line;
		run.loop_start = run.position;
		return;
	}
	run.position = run.loop_start;
	run.actor->record_length = (uint8_t)run.loop_start;
	memset(run.actor->record + run.loop_start, 0,
		sizeof(run.actor->record) - run.loop_start * sizeof(run.actor->record[0]));
}

static uint64_t word_load(const segment_word *word)
{
	uint64_t value;

	if (!is_looked_at(word))
		return 0;
	return is_next(&value) ? record(*word) : value;
}

static bool is_held(const segment_word *word)
{
	const struct segment_account *account =
		&device.accounts[((const char *)word - (const char *)device.accounts) /
				 (long)sizeof(device.accounts[0])];

	return word == &account->held[0] || word == &account->held[1];
}

static void word_store(segment_word *word, uint64_t value)
{
	uint64_t ignored;

	if (!is_looked_at(word) || !is_next(&ignored))
		return;
	if (model->fault != MODEL_NO_INTENT || !is_held(word))
		*word = value;
	(void)record(0);
}

static bool is_as_seen(const segment_word *word, uint64_t seen)
{
	if (model->fault == MODEL_BLIND_SWAP && word == &device.word)
		return true;
	if (model->fault == MODEL_NO_VERSION && word == &device.quota)
		return ((*word ^ seen) & QUOTA_MASK) == 0;
	return *word == seen;
}

static bool word_swap(segment_word *word, uint64_t seen, uint64_t wanted)
{
	uint64_t value;

	if (!is_looked_at(word))
		return true;
	if (!is_next(&value))
		return value != 0;
	bool is_done = is_as_seen(word, seen);
	bool is_of_bytes = word == &device.word || word == &device.quota;
	if (is_done && (is_of_bytes || model->fault != MODEL_NO_ACKNOWLEDGEMENT))
		*word = wanted;
	return record(is_done) != 0;
}

static const struct model_script *script_of(const struct moment *moment, unsigned slot)
{
	return moment->actors[slot].life == 0 ? &model->scripts[slot] : &model->later;
}

static void end_operation(struct actor *actor, const struct model_script *script, bool is_granted)
{
	unsigned units = script->operations[actor->operation].units;
	enum model_kind kind = script->operations[actor->operation].kind;

	if (kind == MODEL_GROW && is_granted)
		actor->mine = (uint8_t)(actor->mine + units);
	else if (kind == MODEL_LESSEN)
		actor->mine = (uint8_t)(actor->mine - units);
	else if (kind == MODEL_LIMIT)
		actor->limit = (uint8_t)(units + 1);
	actor->operation++;
	actor->status = IDLE;
}

/* NULL, or what went wrong inside. */
static const char *call(struct actor *actor, unsigned slot, const struct model_script *script)
{
	unsigned units = script->operations[actor->operation].units;
	enum segment_answer answer = SEGMENT_DONE;

	if (actor->status == REAPING) {
		segment_reap(&device, slot, 0);
		actor->status = FREE;
		return NULL;
	}
	switch (script->operations[actor->operation].kind) {
	case MODEL_GROW:
		answer = segment_grow(&device, slot, units, model->quota);
		break;
	case MODEL_LESSEN:
		answer = segment_lessen(&device, slot, units);
		break;
	case MODEL_LIMIT:
		segment_set_limit(&device, slot, units);
		break;
	case MODEL_NONE:
		break;
	}
	end_operation(actor, script, answer == SEGMENT_DONE);
	return answer == SEGMENT_DAMAGED ? "taken for damaged" : NULL;
}

/* One access further. NULL, or what went wrong inside. */
static const char *step(struct moment *moment, unsigned slot)
{
	struct actor *actor = &moment->actors[slot];

	memset(&run, 0, sizeof(run));
	run.actor = actor;
	if (setjmp(run.left) != 0)
		return NULL;
	const char *offence = call(actor, slot, script_of(moment, slot));
	actor->record_length = 0;
	memset(actor->record, 0, sizeof(actor->record));
	return offence;
}

static void die(struct actor *actor)
{
	actor->status = DEAD;
	actor->record_length = 0;
	actor->mine = actor->limit = 0;
	memset(actor->record, 0, sizeof(actor->record));
}

/* A process goes on with its next operation that makes sense. */
static bool begin_operation(struct moment *moment, unsigned slot)
{
	struct actor *actor = &moment->actors[slot];
	const struct model_script *script = script_of(moment, slot);

	while (actor->operation < MODEL_OPERATIONS &&
		script->operations[actor->operation].kind == MODEL_LESSEN &&
		script->operations[actor->operation].units > actor->mine)
		actor->operation++;
	if (actor->operation == MODEL_OPERATIONS ||
		script->operations[actor->operation].kind == MODEL_NONE)
		return false;
	actor->status = RUNNING;
	return true;
}

enum move { GO_ON, DIE, MOVES };

/* Makes the move of the slot, if it can be made. */
static bool make_move(
	struct moment *moment, unsigned slot, enum move move, const char **ret_offence)
{
	struct actor *actor = &moment->actors[slot];

	if (move == DIE) {
		uint8_t *left = actor->status == REAPING ? &moment->reaper_deaths : &moment->deaths;
		if (actor->status == DEAD || actor->status == FREE || *left == 0)
			return false;
		(*left)--;
		die(actor);
		return true;
	}
	if (actor->status == FREE) {
		if (moment->rebirths == 0)
			return false;
		moment->rebirths--;
		*actor = (struct actor){.status = IDLE, .life = 1};
	}
	if (actor->status == DEAD)
		actor->status = REAPING;
	if (actor->status == IDLE && !begin_operation(moment, slot))
		return false;
	*ret_offence = step(moment, slot);
	return true;
}

static void load_words(const struct moment *moment)
{
	for (unsigned i = 0; i < word_count; i++)
		*words[i] = values[moment->words[i]];
}

static void save_words(struct moment *moment)
{
	for (unsigned i = 0; i < word_count; i++)
		moment->words[i] = number_of(*words[i]);
}

/* What a slot has by the words alone: what reaping it would bring back. */
static uint64_t has_by_words(unsigned slot)
{
	const struct segment_account *account = &device.accounts[slot];
	uint64_t won = account->done;

	if (slot_of(device.word) == slot &&
		((won + 1) & OPERATION_MASK) == (device.word & OPERATION_MASK))
		won++;
	return account->held[won % 2];
}

static const char *check_bytes(const struct moment *moment, bool is_rest)
{
	uint64_t sum = 0;

	if (total_of(device.word) > model->quota)
		return "over the quota";
	for (unsigned i = 0; i < model->slot_count; i++) {
		sum += has_by_words(i);
		if (is_rest && has_by_words(i) != moment->actors[i].mine)
			return "a slot has not what was granted";
	}
	return sum == total_of(device.word) ? NULL : "the total is not the sum";
}

static const char *check_limits(const struct moment *moment, bool is_rest)
{
	uint64_t limit = device.quota & QUOTA_MASK, wanted = 0;

	for (unsigned i = 0; i < model->slot_count; i++) {
		if (is_stricter(moment->actors[i].limit, wanted))
			wanted = moment->actors[i].limit;
	}
	if (is_stricter(wanted, limit))
		return "a living member's limit does not hold";
	return is_rest && wanted != limit ? "a stale limit" : NULL;
}

static bool is_rest(const struct moment *moment)
{
	for (unsigned i = 0; i < model->slot_count; i++) {
		if (moment->actors[i].status != IDLE && moment->actors[i].status != FREE)
			return false;
	}
	return true;
}

static void set_up(struct moment *ret_first)
{
	memset(&device, 0, sizeof(device));
	memset(ret_first, 0, sizeof(*ret_first));
	memset(value_numbers, 0, sizeof(value_numbers));
	value_count = word_count = 0;
	words[word_count++] = model->is_of_limits ? &device.quota : &device.word;
	for (unsigned i = 0; i < model->slot_count; i++) {
		struct segment_account *account = &device.accounts[i];
		account->done = model->done;
		if (model->is_of_limits) {
			words[word_count++] = &account->limit;
		} else {
			words[word_count++] = &account->done;
			words[word_count++] = &account->held[0];
			words[word_count++] = &account->held[1];
		}
	}
	device.word = make_word(0, 0, model->done);
	ret_first->deaths = (uint8_t)model->deaths;
	ret_first->reaper_deaths = (uint8_t)model->reaper_deaths;
	ret_first->rebirths = (uint8_t)model->rebirths;
	save_words(ret_first);
}

/* All moments that have been reached, in the order in which they were, and a hash of them. */
static struct {
	struct moment *moments;
	uint32_t *parents;
	uint32_t count, capacity;
	uint32_t *table; /* number of a moment + 1 */
	uint32_t table_size;
} reached;

static uint32_t place_of(const struct moment *moment)
{
	uint64_t parts[sizeof(*moment) / sizeof(uint64_t)], hash = 0;

	memcpy(parts, moment, sizeof(parts));
	for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
		hash = (hash ^ parts[i]) * 0x9e3779b97f4a7c15ull;
		hash ^= hash >> 32;
	}
	uint32_t place = (uint32_t)hash % reached.table_size;
	while (reached.table[place] != 0 &&
		memcmp(&reached.moments[reached.table[place] - 1], moment, sizeof(*moment)) != 0)
		place = (place + 1) % reached.table_size;
	return place;
}

static void *larger(void *old, size_t count, size_t size)
{
	void *new = realloc(old, count * size);

	if (new == NULL)
		abort();
	return new;
}

static void make_room(void)
{
	if (reached.count < reached.capacity)
		return;
	reached.capacity = reached.capacity == 0 ? 1 << 16 : reached.capacity * 2;
	reached.table_size = reached.capacity * 2 + 1;
	reached.moments = larger(reached.moments, reached.capacity, sizeof(*reached.moments));
	reached.parents = larger(reached.parents, reached.capacity, sizeof(*reached.parents));
	reached.table = larger(reached.table, reached.table_size, sizeof(*reached.table));
	memset(reached.table, 0, reached.table_size * sizeof(*reached.table));
	for (uint32_t i = 0; i < reached.count; i++)
		reached.table[place_of(&reached.moments[i])] = i + 1;
}

static void add(const struct moment *moment, uint32_t parent)
{
	make_room();
	uint32_t place = place_of(moment);
	if (reached.table[place] != 0)
		return;
	reached.moments[reached.count] = *moment;
	reached.parents[reached.count] = parent;
	reached.table[place] = ++reached.count;
}

static void tell_way_to(uint32_t i)
{
	static const char *const names[] = {"idle", "runs", "dead", "reaped", "free"};
	const struct moment *moment = &reached.moments[i];

	if (i != 0)
		tell_way_to(reached.parents[i]);
	load_words(moment);
	printf("total %llu by slot %u", (unsigned long long)total_of(device.word),
		slot_of(device.word));
	for (unsigned slot = 0; slot < model->slot_count; slot++)
		printf(" | %u %s, operation %u after %u accesses, done %llu", slot,
			names[moment->actors[slot].status], moment->actors[slot].operation,
			moment->actors[slot].record_length,
			(unsigned long long)device.accounts[slot].done);
	printf("\n");
}

/* All moments that follow from one. NULL or an offence. */
static const char *follow(uint32_t from)
{
	for (unsigned i = 0; i < model->slot_count * MOVES; i++) {
		struct moment next = reached.moments[from];
		const char *offence = NULL;
		load_words(&next);
		if (!make_move(&next, i / MOVES, (enum move)(i % MOVES), &offence))
			continue;
		save_words(&next);
		add(&next, from);
		if (offence == NULL)
			offence = model->is_of_limits ? check_limits(&next, is_rest(&next))
						      : check_bytes(&next, is_rest(&next));
		if (offence != NULL)
			return offence;
	}
	return NULL;
}

struct model_result model_explore(const struct model *given, bool is_told)
{
	struct model_result result = {0};
	struct moment first;

	model = given;
	set_up(&first);
	memset(&reached, 0, sizeof(reached));
	add(&first, 0);
	for (uint32_t i = 0; i < reached.count && result.offence == NULL; i++) {
		result.rests += is_rest(&reached.moments[i]);
		result.offence = follow(i);
	}
	result.moments = reached.count;
	if (result.offence != NULL && is_told)
		tell_way_to(reached.count - 1);
	free(reached.moments);
	free(reached.parents);
	free(reached.table);
	return result;
}
