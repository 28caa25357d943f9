# pyright: reportUnknownMemberType=false, reportUntypedFunctionDecorator=false, reportUnknownVariableType=false
# numba's decorators are untyped.
"""Compiles loops with numba, and reads and writes bfloat16 as its bits."""

from typing import Any

import numba
import numpy as np

# Sums may be taken in any order, which vectorises them; NaN and infinity stay what they are.
compiled: Any = numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"})


@compiled
def upper_half(bits: Any) -> Any:
    """Round a float32's bits to bfloat16's: to the nearest, ties to even."""
    return np.uint16((bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16))
