# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# Ray's API is partly untyped.
"""Answers of tasks and actors on other nodes, or an error that says why there is none."""

from collections.abc import Callable
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError, RayTaskError

from populace.storage.records.errors import PopulaceError


def answer_of(
    asked: Any, seconds_max: float, refusal: Callable[[str], PopulaceError], *, passes_own: bool = False
) -> Any:
    """Wait for what a task or an actor returns.

    Raises what ``refusal`` makes of the reason if it raises, ends, or does not answer in time. If it
    ``passes_own``, an error of Populace's own comes as it was raised there.
    """
    try:
        return ray.get(asked, timeout=seconds_max)
    except GetTimeoutError as error:
        raise refusal(f"no answer for {seconds_max:.0f} s") from error
    except RayTaskError as error:
        cause = error.cause
        if isinstance(cause, PopulaceError):
            raise (cause if passes_own else refusal(str(cause))) from error
        raise refusal(repr(cause)) from error
    except RayError as error:
        raise refusal(f"{type(error).__name__}; try again") from error
