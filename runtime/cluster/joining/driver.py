# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# Ray's API is partly untyped.
"""Makes this process a driver of a Ray that runs already, and finds the others."""

import logging
from typing import Any

import grpc
import ray
from ray._private.state import state
from ray.exceptions import AuthenticationError

from populace.actors.errors import ClusterNotFound
from populace.cluster.joining.cluster_note import PLACE, answers
from populace.hosting.loopback import joins_at
from populace.hosting.messages import NAMESPACE
from populace.settings.signals import kept_sigterm

ALIVE = "/ray.rpc.NodeInfoGcsService/CheckAlive"
"""What Ray's server answers anybody who may ask it anything. All fields of the request are optional."""
ASK_SECONDS_MAX = 10.0
UNGUARDED = (
    "It asks nobody for a token, so whoever reaches its ports can run programs there. Start all of its nodes "
    "anew with RAY_AUTH_MODE=token and the same RAY_AUTH_TOKEN_PATH"
)


def answers_without_token(address: str) -> bool:
    """Return whether the Ray at ``HOST:PORT`` answers a caller that has neither a token nor a certificate."""
    with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        try:
            channel.unary_unary(ALIVE)(b"", timeout=ASK_SECONDS_MAX)
        except grpc.RpcError:
            return False
    return True


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
    if answers_without_token(ray.get_runtime_context().gcs_address):
        with kept_sigterm():
            ray.shutdown()
        raise ClusterNotFound(address, UNGUARDED)


def running_driver(job: str) -> dict[str, Any] | None:
    """Return what Ray says of the driver whose job has this id; None if that has ended."""
    jobs: list[dict[str, Any]] = state.job_table()
    return next((one for one in jobs if one["JobID"] == job and not one["IsDead"]), None)
