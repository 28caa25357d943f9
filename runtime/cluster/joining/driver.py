# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# Ray's API is partly untyped.
"""Makes this process a driver of a Ray that runs already, and finds the others."""

import logging
from typing import Any

import ray
from ray._private.state import state
from ray.exceptions import AuthenticationError

from populace.actors.errors import ClusterNotFound
from populace.cluster.joining.cluster_note import PLACE, answers
from populace.hosting.loopback import joins_at
from populace.hosting.messages import NAMESPACE
from populace.settings.signals import kept_sigterm


def join_ray(address: str, *, is_verbose: bool) -> None:
    """Join a Ray that runs already; raises ``ClusterNotFound`` with its reason and what may help."""
    if PLACE.fullmatch(address) and not answers(address):
        # Ray would try for two minutes.
        raise ClusterNotFound(address, "Nothing listens there: is it the address of `ray start --head`?")
    try:
        with kept_sigterm(), joins_at(address):
            ray.init(
                address=address,
                namespace=NAMESPACE,
                log_to_driver=is_verbose,
                logging_level=logging.INFO if is_verbose else logging.ERROR,
            )
    except (ConnectionError, RuntimeError, ValueError, AuthenticationError) as error:
        reason = str(error).split("\n", 1)[0]
        hint = (
            "This machine has to be a node of that Ray, with its token (RAY_AUTH_MODE, RAY_AUTH_TOKEN_PATH)."
        )
        raise ClusterNotFound(address, f"Ray says: {reason} {hint}") from error


def running_driver(job: str) -> dict[str, Any] | None:
    """Return what Ray says of the driver whose job has this id; None if that has ended."""
    jobs: list[dict[str, Any]] = state.job_table()
    return next((one for one in jobs if one["JobID"] == job and not one["IsDead"]), None)
