# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# jax_partition.py: results of JAX. Nobody else can bring work to its streams; on how many SMs work
# runs is told of the default stream and of one that is made as JAX makes its own.
import os

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
os.environ.setdefault("XLA_FLAGS", "--xla_gpu_autotune_level=0")  # no choice by measured time

import jax
import jax.numpy as jnp
import numpy

from framework import say, say_result
from side_census import Census, enter_primary_context


@jax.jit
def layers(x, weight):
    for _ in range(4):
        x = jnp.remainder(x @ weight, 5)
    return x


say("version", jax.__version__)
x = jnp.asarray(numpy.random.default_rng(1).integers(-2, 3, (512, 512)), dtype=jnp.float32)
say_result("layers", numpy.asarray(layers(x, x)).tobytes())
enter_primary_context()  # JAX's own, which is current in its threads alone
census = Census()
census.bring(0)
census.bring_by_new_stream()
say_result("layers_again", numpy.asarray(layers(x, x)).tobytes())
census.tell()
