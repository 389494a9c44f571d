/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "exports_model.h"

#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* In place of group/segment_words.h. */
#define CUSLICE_GROUP_SEGMENT_WORDS_H
typedef uint64_t segment_word;
static uint64_t word_load(const segment_word *word);
static void word_store(segment_word *word, uint64_t value);
static bool word_swap(segment_word *word, uint64_t seen, uint64_t wanted);
static uint64_t word_load_in_order(const segment_word *word)
{
	return word_load(word);
}
static void word_loop(void)
{
}
#include "group/segment_exports.c"

#define MAX_WORDS  (3 + SLOTS)
#define MAX_RECORD 40
#define MAX_VALUES 255

enum role { NOTHING, ALONE, EXPORTER, GUEST, HEIR, LEAVER };
enum life { IDLE, RUNNING, DEAD, REAPING, FREE };

struct actor {
	uint8_t life, is_reborn, operation, role, generation;
	uint8_t holds;      /* memory, by the driver */
	uint8_t is_settled; /* the call that got it has returned */
	uint8_t record_length, record[MAX_RECORD];
};

struct moment {
	uint8_t words[MAX_WORDS];
	uint8_t deaths, reaper_deaths, rebirths;
	struct actor actors[SLOTS];
} __attribute__((aligned(8)));

static const enum operation later[OPERATIONS] = {EXPORT_2, CLOSE, TEND};
static const struct play *play;
static struct segment_export exports[SEGMENT_EXPORTS];
static segment_word accounts[SLOTS];
static segment_word *words[MAX_WORDS];
static uint64_t values[MAX_VALUES];
static unsigned word_count, value_count;
static struct moment *moment;

static struct {
	struct actor *actor;
	unsigned position;
	bool has_stepped, is_free; /* free: no steps are counted */
	jmp_buf left;
} run;

static uint8_t number_of(uint64_t value)
{
	unsigned i = 0;

	while (i < value_count && values[i] != value)
		i++;
	if (i == MAX_VALUES)
		abort();
	if (i == value_count)
		values[value_count++] = value;
	return (uint8_t)i;
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
	if (run.is_free)
		return true;
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
	if (run.is_free)
		return value;
	if (run.actor->record_length == MAX_RECORD)
		abort();
	run.actor->record[run.actor->record_length++] = number_of(value);
	run.position++;
	return value;
}

/* Other entries are spoilt, and nobody's here; each entry is worth one unit. */
static uint64_t load_unwatched(const segment_word *word)
{
	size_t offset = (size_t)((const char *)word - (const char *)exports) % sizeof(exports[0]);

	if (offset == offsetof(struct segment_export, state))
		return make_state(0, SEGMENT_SLOTS - 1, (enum status)STATUS_MASK);
	return offset == offsetof(struct segment_export, units);
}

static uint64_t word_load(const segment_word *word)
{
	uint64_t value;

	if (!is_looked_at(word))
		return load_unwatched(word);
	return is_next(&value) ? record(*word) : value;
}

static void word_store(segment_word *word, uint64_t value)
{
	uint64_t ignored;

	if (!is_looked_at(word) || !is_next(&ignored))
		return;
	*word = value;
	(void)record(0);
}

static bool word_swap(segment_word *word, uint64_t seen, uint64_t wanted)
{
	uint64_t value;

	if (!is_looked_at(word))
		return false;
	if (!is_next(&value))
		return value != 0;
	bool is_done = *word == seen;
	bool is_lost = play->fault == NO_ENDING && word == &exports[0].state &&
		       status_of(wanted) == ENDING;
	if (is_done && !is_lost)
		*word = wanted;
	return record(is_done) != 0;
}

/* One step. */
static void add_to_account(unsigned slot, uint64_t units)
{
	uint64_t ignored;

	if (!is_next(&ignored))
		return;
	accounts[slot] += units;
	(void)record(0);
}

static struct segment_name name_of(unsigned memory)
{
	return (struct segment_name){{memory}};
}

static struct segment_export_id id_of(const struct actor *actor)
{
	return (struct segment_export_id){1, actor->generation};
}

static void export_memory(struct actor *actor, unsigned slot, unsigned memory)
{
	const struct segment_name name = name_of(memory);

	add_to_account(slot, 1);
	actor->holds = (uint8_t)memory;
	actor->is_settled = 1;
	struct segment_export_id id = segment_exports_add(exports, slot, 0, 1, &name);
	actor->role = id.number == 1 ? EXPORTER : ALONE;
	actor->generation = (uint8_t)id.generation;
}

static bool is_held_by_somebody(unsigned memory)
{
	for (unsigned i = 0; i < play->slot_count; i++) {
		if (moment->actors[i].holds == memory)
			return true;
	}
	return false;
}

static bool enter(unsigned slot, struct segment_export_id id)
{
	if (play->fault != NO_SECOND_LOOK)
		return segment_exports_enter(exports, slot, id);
	set_guest(&exports[0], slot, true);
	return true;
}

static void open_memory(struct actor *actor, unsigned slot)
{
	const struct segment_name name = name_of(1);
	unsigned payer = 0;
	uint64_t units;

	if (actor->record_length == 0 && !is_held_by_somebody(1))
		return;
	actor->holds = 1;
	struct segment_export_id id = segment_exports_find(exports, 0, &name, &payer, &units);
	if (id.number == 1 && payer != slot && enter(slot, id)) {
		actor->generation = (uint8_t)id.generation;
		actor->role = GUEST;
	} else {
		add_to_account(slot, 1);
		actor->role = ALONE;
	}
	actor->is_settled = 1;
}

static void end_or_pay_on(struct actor *actor, unsigned slot)
{
	bool is_over = segment_exports_end(exports, slot, id_of(actor));

	if (is_over)
		add_to_account(slot, UINT64_MAX);
	actor->role = is_over ? NOTHING : LEAVER;
}

static void close_memory(struct actor *actor, unsigned slot)
{
	enum role role = (enum role)actor->role;

	actor->holds = actor->is_settled = 0;
	if (role == EXPORTER || role == HEIR) {
		end_or_pay_on(actor, slot);
		return;
	}
	if (role == GUEST)
		segment_exports_leave(exports, slot, id_of(actor));
	else if (role == ALONE)
		add_to_account(slot, UINT64_MAX);
	actor->role = role == LEAVER ? LEAVER : NOTHING;
}

static void take_over(struct actor *actor, unsigned slot)
{
	if (!segment_exports_is_orphan(exports, id_of(actor)))
		return;
	if (play->fault == ADOPTS_FIRST) {
		if (segment_exports_adopt(exports, slot, id_of(actor))) {
			add_to_account(slot, 1);
			actor->role = HEIR;
		}
		return;
	}
	add_to_account(slot, 1);
	if (segment_exports_adopt(exports, slot, id_of(actor)))
		actor->role = HEIR;
	else
		add_to_account(slot, UINT64_MAX);
}

static void tend(struct actor *actor, unsigned slot)
{
	if (actor->role == GUEST)
		take_over(actor, slot);
	else if (actor->role == LEAVER && !segment_exports_has_guests(exports, slot, id_of(actor)))
		end_or_pay_on(actor, slot);
}

static void reap_slot(struct actor *actor, unsigned slot)
{
	uint64_t ignored;

	segment_exports_reap(exports, slot);
	uint64_t kept = segment_exports_kept(exports, slot, 0);
	if (play->fault == KEEPS_NOTHING)
		kept = 0;
	if (is_next(&ignored)) {
		accounts[slot] = accounts[slot] > kept ? kept : accounts[slot];
		(void)record(0);
	}
	actor->life = kept == 0 ? FREE : DEAD;
}

static enum operation operation_of(const struct actor *actor, unsigned slot)
{
	const enum operation *script = actor->is_reborn ? later : play->scripts[slot];

	return actor->operation == OPERATIONS ? STOP : script[actor->operation];
}

static void perform(struct actor *actor, unsigned slot)
{
	if (actor->life == REAPING) {
		reap_slot(actor, slot);
		return;
	}
	switch (operation_of(actor, slot)) {
	case EXPORT_1:
	case EXPORT_2:
		export_memory(actor, slot, operation_of(actor, slot) == EXPORT_1 ? 1 : 2);
		break;
	case OPEN_1:
		open_memory(actor, slot);
		break;
	case CLOSE:
		close_memory(actor, slot);
		break;
	case TEND:
		tend(actor, slot);
		break;
	case STOP:
		break;
	}
	actor->operation++;
	actor->life = IDLE;
}

static void forget(struct actor *actor)
{
	actor->record_length = 0;
	memset(actor->record, 0, sizeof(actor->record));
}

/* What an operation has changed of its actor stands when it is over; only what it holds, by the
 * driver, stands at once. */
static void step(unsigned slot)
{
	struct actor *actor = &moment->actors[slot];
	struct actor before = *actor;

	run.actor = actor;
	run.position = 0;
	run.has_stepped = false;
	if (setjmp(run.left) == 0) {
		perform(actor, slot);
		forget(actor);
		return;
	}
	before.holds = actor->holds;
	before.is_settled = actor->is_settled;
	before.record_length = actor->record_length;
	memcpy(before.record, actor->record, sizeof(before.record));
	*actor = before;
}

static bool die(struct actor *actor)
{
	uint8_t *left = actor->life == REAPING ? &moment->reaper_deaths : &moment->deaths;

	if (actor->life == DEAD || actor->life == FREE || *left == 0)
		return false;
	(*left)--;
	actor->life = DEAD;
	actor->holds = actor->is_settled = actor->role = actor->generation = 0;
	forget(actor);
	return true;
}

static bool go_on(unsigned slot)
{
	struct actor *actor = &moment->actors[slot];

	if (actor->life == FREE && moment->rebirths > 0) {
		moment->rebirths--;
		*actor = (struct actor){.is_reborn = 1};
	}
	if (actor->life == FREE || (actor->life == IDLE && operation_of(actor, slot) == STOP))
		return false;
	if (actor->life == DEAD)
		actor->life = REAPING;
	if (actor->life == IDLE)
		actor->life = RUNNING;
	step(slot);
	return true;
}

static void load_words(void)
{
	for (unsigned i = 0; i < word_count; i++)
		*words[i] = values[moment->words[i]];
}

static void save_words(void)
{
	for (unsigned i = 0; i < word_count; i++)
		moment->words[i] = number_of(*words[i]);
}

static uint64_t paid(void)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < play->slot_count; i++)
		sum += accounts[i];
	return sum;
}

static unsigned settled(void)
{
	bool is_held[3] = {false};

	for (unsigned i = 0; i < play->slot_count; i++) {
		if (moment->actors[i].is_settled)
			is_held[moment->actors[i].holds] = true;
	}
	return (unsigned)is_held[1] + is_held[2];
}

/* Where all have come to their end: those that live look after what they pay for, the dead are
 * reaped, and then nobody has anything left. */
static const char *check_end(void)
{
	struct moment kept = *moment;

	for (unsigned i = 0; i < play->slot_count; i++) {
		if (moment->actors[i].holds != 0 || moment->actors[i].record_length != 0 ||
			(moment->actors[i].life != FREE && moment->actors[i].life != DEAD &&
				operation_of(&moment->actors[i], i) != STOP))
			return NULL;
	}
	run.is_free = true;
	for (unsigned i = 0; i < 2 * play->slot_count; i++) {
		unsigned slot = i % play->slot_count;
		struct actor *actor = &moment->actors[slot];
		if (actor->life == DEAD)
			reap_slot(actor, slot);
		else if (actor->life == IDLE)
			tend(actor, slot);
	}
	run.is_free = false;
	*moment = kept;
	if (paid() != 0)
		return "something is paid for that nobody holds";
	return exports[0].guests[0] != 0 || status_of(exports[0].state) != UNUSED
		       ? "the entry is not as it was"
		       : NULL;
}

static const char *check(void)
{
	/* In two's complement, should it have become less than nothing. */
	if ((int64_t)paid() < (int64_t)settled())
		return "less is paid for than is held";
	return check_end();
}

/* All moments that have been reached, and a hash of them: number + 1. */
static struct {
	struct moment *moments;
	uint32_t *table;
	uint32_t count, size;
} reached;

static uint32_t *place_of(const struct moment *wanted)
{
	uint64_t parts[sizeof(*wanted) / sizeof(uint64_t)], hash = 0;

	memcpy(parts, wanted, sizeof(parts));
	for (size_t k = 0; k < sizeof(parts) / sizeof(parts[0]); k++) {
		hash = (hash ^ parts[k]) * 0x9e3779b97f4a7c15ull;
		hash ^= hash >> 32;
	}
	uint32_t i = (uint32_t)hash % reached.size;
	while (reached.table[i] != 0 &&
		memcmp(&reached.moments[reached.table[i] - 1], wanted, sizeof(*wanted)) != 0)
		i = (i + 1) % reached.size;
	return &reached.table[i];
}

static void add(const struct moment *next)
{
	uint32_t *place = place_of(next);

	if (*place != 0)
		return;
	if (reached.count >= reached.size / 2)
		abort();
	reached.moments[reached.count] = *next;
	*place = ++reached.count;
}

static void set_up(void)
{
	static struct moment first;

	memset(exports, 0, sizeof(exports));
	memset(accounts, 0, sizeof(accounts));
	word_count = value_count = reached.count = 0;
	words[word_count++] = &exports[0].state;
	words[word_count++] = &exports[0].guests[0];
	words[word_count++] = &exports[0].name[0];
	for (unsigned i = 0; i < play->slot_count; i++)
		words[word_count++] = &accounts[i];
	memset(&first, 0, sizeof(first));
	first.deaths = (uint8_t)play->deaths;
	first.reaper_deaths = (uint8_t)play->reaper_deaths;
	first.rebirths = (uint8_t)play->rebirths;
	moment = &first;
	save_words();
	memset(reached.table, 0, reached.size * sizeof(*reached.table));
	add(&first);
}

/* All moments that follow from one. NULL or an offence. */
static const char *follow(uint32_t from)
{
	for (unsigned i = 0; i < 2 * play->slot_count; i++) {
		struct moment next = reached.moments[from];
		moment = &next;
		load_words();
		if (i % 2 == 0 ? !go_on(i / 2) : !die(&next.actors[i / 2]))
			continue;
		save_words();
		add(&next);
		const char *offence = check();
		if (offence != NULL)
			return offence;
	}
	return NULL;
}

const char *play_explore(const struct play *given, unsigned *ret_moment_count)
{
	const char *offence = NULL;

	play = given;
	set_up();
	for (uint32_t i = 0; i < reached.count && offence == NULL; i++)
		offence = follow(i);
	*ret_moment_count = reached.count;
	return offence;
}

bool plays_init(unsigned moment_count)
{
	reached.size = 2 * moment_count;
	reached.moments = malloc(moment_count * sizeof(*reached.moments));
	reached.table = malloc(reached.size * sizeof(*reached.table));
	return reached.moments != NULL && reached.table != NULL;
}

void plays_finish(void)
{
	free(reached.moments);
	free(reached.table);
}
