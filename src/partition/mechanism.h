/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * How the share of a device is to be kept: the decision alone, from what is known. Whoever finds
 * the facts out, and whoever acts on what comes of them, is elsewhere (slice/share.c, cuslice
 * explain).
 */
#ifndef CUSLICE_PARTITION_MECHANISM_H
#define CUSLICE_PARTITION_MECHANISM_H

#include "config/config.h"

#include <stdbool.h>

enum mechanism {
	MECHANISM_TIME,
	MECHANISM_SM,
	MECHANISM_BOTH,
	MECHANISM_MPS,
	MECHANISM_MPS_STATIC, /* the daemon's static partition, and time within it */
	MECHANISM_COUNT
};

enum mechanism_company { MECHANISM_ALONE, MECHANISM_BESIDE_OTHERS, MECHANISM_BESIDE_UNSEEN };

struct mechanism_facts {
	enum config_mechanism asked;
	bool has_mps;             /* the driver uses it for this process */
	bool has_percentage;      /* MPS was told one, or will be */
	const char *no_mps;       /* where it was not: why */
	const char *mps_variable; /* by which the environment has a part of the SMs, or NULL */
	bool is_static;           /* that variable names a static partition */
	bool can_partition;       /* the driver has green contexts with streams */
	bool is_covered;          /* a report shows that partitions hold here */
	enum mechanism_company company;
};

#define MECHANISM_WHY_LEN 400

/* Why there is none where it is asked for later, or for some of the devices alone. */
#define MECHANISM_MPS_NOT_ASKED "MPS was not asked for before cuInit"

struct mechanism_choice {
	enum mechanism mechanism;
	bool is_as_asked; /* false: it was asked for by name, and is to be missed aloud */
	char why[MECHANISM_WHY_LEN];
};

struct mechanism_choice mechanism_choose(const struct mechanism_facts *facts);

/* As in the setting. */
const char *mechanism_name(enum mechanism mechanism);

#endif
