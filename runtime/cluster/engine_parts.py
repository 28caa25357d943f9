"""The engine replicas of a running Populace: how many, where, and with what."""

import uuid
from collections.abc import Callable

from populace.actors.engine import EngineKind
from populace.base.memory_module import MemoryModuleFile
from populace.base.prepare import BaseModelFiles
from populace.cluster.joining.cluster_note import ClusterNote, own_versions
from populace.cluster.process_environment import cluster_environment
from populace.cluster.serve_applications import deploy
from populace.engines import client, replica
from populace.engines.engine_nodes import EngineNodes
from populace.engines.options import EngineOptions
from populace.engines.vllm_environment import cpu_environment, vllm_environment
from populace.hosting.store_node import Home
from populace.node_files.ray_hosts import StoreHosts
from populace.policies.engine_devices import Asked, memory_share, profile_of
from populace.settings.machine import has_gpu
from populace.settings.settings import Settings
from populace.telemetry.options import TelemetryOptions


def start_engines(
    settings: Settings,
    engine: EngineKind,
    options: EngineOptions,
    hosts: StoreHosts,
    *,
    nodes: EngineNodes,
    telemetry: TelemetryOptions,
    report: Callable[[str], None],
) -> None:
    """Start the replicas and wait until they serve. Raises ``StartFailed``."""
    if nodes.gpus and not nodes.used():
        report("No machine of the cluster has a GPU yet: waiting for one that joins")
    deploy(
        replica.engine_application(
            engine,
            options,
            hosts,
            gpus=nodes.gpus * nodes.share,
            replicas=nodes.wanted(),
            replicas_per_node=nodes.replicas if settings.may_grow else None,
            environment=_engine_environment(settings, engine, gpus=nodes.gpus, kv_gib=options.kv_gib),
            nodes=dict(nodes.labels),
            telemetry=telemetry,
        ),
        client.APPLICATION,
        report,
    )


def cluster_note(
    base: BaseModelFiles, engine: EngineKind, nodes: EngineNodes, home: Home | None
) -> ClusterNote:
    """Say what a machine needs to know that is to join this start of the cluster."""
    return ClusterNote(
        run=uuid.uuid4().hex,
        **own_versions(),
        engine=engine,
        gpus=nodes.gpus,
        base=base.name,
        fingerprint=base.fingerprint,
        base_directory=str(base.directory),
        store="" if home is None else home.store_id,
        journal="" if home is None else home.journal.url,
    )


def engine_options(
    settings: Settings,
    base: BaseModelFiles,
    memory: MemoryModuleFile | None,
    context_tokens: int,
    asked: Asked,
) -> EngineOptions:
    """Return what each replica is started with; ``asked`` is what ``check_devices`` returned."""
    slots = settings.adapter_slots
    if asked.on_gpu and "adapter_slots" not in settings.model_fields_set:
        # By default there are as many as requests where no GPU is, and it may be another machine's.
        slots = min(slots, profile_of(None).slots) if not has_gpu() else slots
    return EngineOptions(
        base.directory,
        base.fingerprint,
        context_tokens,
        name=base.name,
        sequences_max=settings.sequences_max,
        adapter_slots=slots,
        rank_max=settings.rank_max,
        waiting_max=settings.waiting_max,
        threads=settings.threads,
        memory_module=None if memory is None else memory.path,
        memory_digest=None if memory is None else memory.digest,
        kv_gib=settings.kv_gib,
        dtype=settings.engine_dtype,
        tensor_parallel=settings.tensor_parallel,
        gpu_memory_share=memory_share(asked),
        quantization=None if settings.quantization == "none" else settings.quantization,
        batched_tokens_max=settings.batched_tokens_max,
        # The replicas of one machine share its host memory.
        warm_bytes_max=max(1, settings.warm_bytes_max // settings.replicas),
    )


def _engine_environment(settings: Settings, engine: EngineKind, *, gpus: int, kv_gib: int) -> dict[str, str]:
    environment = cluster_environment(settings)
    if engine == "torch":
        return environment | {"OMP_NUM_THREADS": str(settings.threads)}
    environment |= vllm_environment()
    return environment if gpus else environment | cpu_environment(settings.threads, kv_gib=kv_gib)
