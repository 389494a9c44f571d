/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * What the driver says about itself.
 */
#ifndef SIMGPU_DRIVER_INIT_H
#define SIMGPU_DRIVER_INIT_H

/* Returns the machine's driver version, as cuDriverGetVersion: 13000. Before cuInit too. */
int driver_version(void);

#endif
