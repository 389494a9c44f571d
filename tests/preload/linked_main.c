/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * The scenario by a program that is linked with libcuda.
 */
#include "scenario.h"

int main(void)
{
	struct functions cu;

	functions_from_link(&cu);
	return scenario(&cu);
}
