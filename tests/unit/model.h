/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Runs segment_protocol.c itself in every order of accesses to shared words that a few processes,
 * their deaths at any access, and those who reap them, may take.
 *
 * A function of the protocol is run from its beginning for each of its accesses: those that it has
 * made before are answered from a record, the next one is made, and at the one after that it is
 * left by longjmp(). So a moment of the whole is: the words, and for each slot who is at it, with
 * the record of what it has read. All such moments that can be reached are visited, breadth first.
 */
#ifndef CUSLICE_TESTS_UNIT_MODEL_H
#define CUSLICE_TESTS_UNIT_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#define MODEL_SLOTS      3
#define MODEL_OPERATIONS 4

enum model_kind { MODEL_NONE, MODEL_GROW, MODEL_LESSEN, MODEL_LIMIT };

/* A process's life: operations one after the other. What was refused is not given back. */
struct model_script {
	struct {
		enum model_kind kind;
		unsigned units;
	} operations[MODEL_OPERATIONS];
};

/* Faults that are put in, to see that they are found. */
enum model_fault {
	MODEL_SOUND,
	MODEL_NO_ACKNOWLEDGEMENT, /* nobody writes another's win down */
	MODEL_BLIND_SWAP,         /* the total is overwritten, whatever stands there */
	MODEL_NO_INTENT,          /* nothing is written down before the swap */
	MODEL_NO_VERSION,         /* a quota that is the same again is taken for unchanged */
};

struct model {
	unsigned slot_count;
	struct model_script scripts[MODEL_SLOTS]; /* of the first process on each slot */
	struct model_script later;                /* of all that come to a slot that was reaped */
	unsigned quota;
	unsigned deaths, reaper_deaths, rebirths; /* how many there may be, of all slots */
	uint64_t done;                            /* of all slots at first */
	bool is_of_limits;                        /* looks at limits, not at bytes */
	enum model_fault fault;
};

struct model_result {
	const char *offence; /* the first that was found, NULL: none */
	unsigned long moments;
	unsigned long rests; /* of them with nobody in the middle of anything */
};

/* Visits all. Prints how an offence comes about, if asked for. */
struct model_result model_explore(const struct model *model, bool is_told);

#endif
