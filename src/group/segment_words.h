/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * How a word of the segment is read and written: by these functions only. The model test puts
 * its own in their place, and so runs the very code that processes run, one access at a time.
 */
#ifndef CUSLICE_GROUP_SEGMENT_WORDS_H
#define CUSLICE_GROUP_SEGMENT_WORDS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

typedef _Atomic uint64_t segment_word;

/* acquire: pairs with the release of word_store() and word_swap() */
static inline uint64_t word_load(const segment_word *word)
{
	return atomic_load_explicit(word, memory_order_acquire);
}

static inline void word_store(segment_word *word, uint64_t value)
{
	atomic_store_explicit(word, value, memory_order_release);
}

/* False where another value than `seen` stood there; nothing is changed then. */
static inline bool word_swap(segment_word *word, uint64_t seen, uint64_t wanted)
{
	return atomic_compare_exchange_strong_explicit(
		word, &seen, wanted, memory_order_seq_cst, memory_order_acquire);
}

/* Of two processes that each change a word by word_swap() and then read the other's by this, at
 * least one sees what the other has changed. */
static inline uint64_t word_load_in_order(const segment_word *word)
{
	return atomic_load_explicit(word, memory_order_seq_cst);
}

/* Says that a loop begins anew and knows no more than when it first began. */
static inline void word_loop(void)
{
}

#endif
