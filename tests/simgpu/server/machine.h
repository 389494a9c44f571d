/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The page group `struct wire_machine` that every client maps: written from the settings, and by
 * injected failures.
 */
#ifndef SIMGPU_MACHINE_H
#define SIMGPU_MACHINE_H

#include <stdbool.h>
#include <stdint.h>

#include "../wire.h"
#include "settings.h"

/* 64-bit words for a bit for each SM of any device. */
uint32_t machine_sm_words(const struct settings *settings);

/* Writes the settings into the machine. Clients that read meanwhile see `generation` odd or
 * changed, and read again. */
void machine_write(struct wire_machine *machine, const struct settings *settings);

/* Lets the next `count` calls of `symbol` return `result`; 0 ends an injection. Returns false if
 * the table is full. */
bool machine_fail(struct wire_machine *machine, const char *symbol, int32_t result, int32_t count);

#endif
