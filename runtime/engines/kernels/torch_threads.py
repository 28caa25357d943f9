# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
"""Runs a compiled loop on the threads that torch's operations run on.

Threads of its own would wait for a core beside torch's, which spin between two operations; a hand-over to a
sleeping thread takes longer than a layer's products. So the loop is given to the OpenMP library that torch
brings, as one more of its parallel regions (``GOMP_parallel``, of libgomp's interface for compilers).
"""

import ctypes
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import torch

Loop = Callable[[int, int], None]
"""Takes the address of a C function, ``void (void *)``, and of its argument."""


def run_on_all(function: int, argument: int) -> None:
    """Call the function on each of torch's threads at once; return when all have returned.

    The function shares the work out by itself. It is called once, on this thread, where torch has one thread
    or another OpenMP library.
    """
    _runner()(function, argument)


@lru_cache(1)
def _runner() -> Loop:
    package = Path(torch.__file__).parent
    libraries = [*package.glob("lib/libgomp*.so*"), *package.parent.glob("torch.libs/libgomp*.so*")]
    for library in libraries:
        try:
            parallel = ctypes.CDLL(str(library)).GOMP_parallel
        except (OSError, AttributeError):
            continue
        parallel.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint)
        parallel.restype = None
        # No number of threads is the one that torch was given.
        return lambda function, argument: parallel(function, argument, 0, 0)
    return _run_here


def _run_here(function: int, argument: int) -> None:
    ctypes.CFUNCTYPE(None, ctypes.c_void_p)(function)(argument)
