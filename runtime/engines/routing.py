# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# Ray's API is partly untyped.
"""Ray Serve's router of the engine replicas: it asks ``Routes`` where each call goes.

Serve has one in every process that has a handle, and calls it on one event loop. Full queues, lost replicas
and repeated calls are handled by Serve; missing or old summaries only make a choice worse.
"""

from asyncio import Future
from collections.abc import Mapping
from functools import partial
from typing import Any

from ray.serve.request_router import PendingRequest, ReplicaID, RequestRouter, RunningReplica

from populace.actors.engine import AdapterRef, GenerateRequest
from populace.engines.channel import StreamTarget
from populace.engines.routes import Call, RoutedReason, Routes


class ResidencyRouter(RequestRouter):
    """Prefers replicas that hold a request's adapter to those that have little to do."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._routes = Routes()
        self._unsettled: set[Future[RunningReplica]] = set()

    def update_replicas(self, replicas: list[RunningReplica]) -> None:
        super().update_replicas(replicas)
        self._routes.update({replica.replica_id.unique_id: replica.routing_stats for replica in replicas})

    async def choose_replicas(
        self, candidate_replicas: list[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        """Rank the replicas; Serve takes the first whose queue is not full, and asks again after a while."""
        if pending_request is None:
            return [candidate_replicas]
        pending_request.routing_context.should_backoff = True
        replicas = {replica.replica_id.unique_id: replica for replica in candidate_replicas}
        call = call_of(pending_request)
        chosen = self._routes.choose(call, list(replicas))
        future: Future[RunningReplica] = pending_request.future
        if future not in self._unsettled:
            self._unsettled.add(future)
            future.add_done_callback(partial(self._settle, call, dict(chosen)))
        return [[replicas[name]] for name, _ in chosen]

    def on_request_completed(self, replica_id: ReplicaID, internal_request_id: str) -> None:
        self._routes.end(internal_request_id)

    def on_new_queue_len_info(self, replica_id: ReplicaID, num_ongoing_requests: int) -> None:
        super().on_new_queue_len_info(replica_id, num_ongoing_requests)
        self._routes.hear(replica_id.unique_id, num_ongoing_requests)

    def on_replica_actor_died(self, replica_id: ReplicaID) -> None:
        super().on_replica_actor_died(replica_id)
        self._routes.remove(replica_id.unique_id)

    def _settle(
        self, call: Call, reasons: Mapping[str, RoutedReason], future: "Future[RunningReplica]"
    ) -> None:
        self._unsettled.discard(future)
        if future.cancelled():
            self._routes.end(call.id)
            return
        replica = future.result().replica_id.unique_id
        self._routes.settle(call, replica, reasons.get(replica, "least_loaded"))


def call_of(pending: PendingRequest) -> Call:
    """Read what routing needs of a pending call; a call without an adapter has only an id."""
    call = pending.metadata.internal_request_id
    match pending.args:
        case [GenerateRequest() as request, StreamTarget() as target, *_]:
            adapter = None if request.adapter is None else request.adapter.digest
            return Call(call, adapter, target.stream_id)
        case [AdapterRef() as adapter, replaces]:
            # Those that use the other adapter will use this one, and should find it there.
            return Call(call, adapter.digest, follows=None if replaces is None else replaces.digest)
        case _:
            return Call(call)
