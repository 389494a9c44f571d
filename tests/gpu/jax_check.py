# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# jax_check.py [QUOTA]: results of JAX, and how it meets the end of memory. JAX takes three quarters
# of the free memory that it sees when it starts; here it is told not to.
import gc
import os

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", "1.0")
os.environ.setdefault("XLA_PYTHON_CLIENT_ALLOCATOR", "platform")  # cuMemAlloc for each array
os.environ.setdefault("XLA_FLAGS", "--xla_gpu_autotune_level=0")  # no choice by measured time

import ctypes

import jax
import jax.numpy as jnp
import numpy

from framework import EXCESS, fill, name_of_refusal, quota_of_arguments, say, say_result


class OutOfMemoryError(Exception):
    """JAX has no class of its own for it."""


def allocate(size):
    try:
        return jnp.empty(size, dtype=jnp.uint8).block_until_ready()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" in str(error):
            raise OutOfMemoryError() from error
        raise


def see_memory():
    """JAX does not tell what the device has, so the driver is asked in JAX's own context."""
    libcuda = ctypes.CDLL("libcuda.so.1")
    free, total, whole, context = (ctypes.c_size_t(), ctypes.c_size_t(), ctypes.c_size_t(),
                                   ctypes.c_void_p())
    for result in (libcuda.cuInit(0), libcuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0),
                   libcuda.cuCtxSetCurrent(context),
                   libcuda.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total)),
                   libcuda.cuDeviceTotalMem_v2(ctypes.byref(whole), 0)):
        assert result == 0, result
    say("total_bytes", total.value)
    say("free_bytes", free.value)
    say("device_total_bytes", whole.value)
    return total.value


@jax.jit
def layers(x, weight):
    for _ in range(4):
        x = jnp.tanh(x @ weight)
    return x


def compute(name):
    x = jnp.asarray(numpy.random.default_rng(1).standard_normal((512, 512)), dtype=jnp.float32)
    say_result(name, numpy.asarray(layers(x, x / 23)).tobytes())


def main():
    say("version", jax.__version__)
    compute("layers")
    total = see_memory()
    say("over", name_of_refusal(allocate, total + EXCESS, OutOfMemoryError))
    quota = quota_of_arguments()
    if quota is not None:
        fill(allocate, quota, OutOfMemoryError)
        gc.collect()
    compute("layers_again")
    say("recovered", "yes")


main()
