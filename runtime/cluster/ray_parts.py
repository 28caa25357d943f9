# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# Ray's API is partly untyped.
"""The parts of a running Populace that are Ray's: cluster, host actors, Serve deployments."""

import asyncio
import contextlib
import io
import logging
import secrets
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import ray
from ray import serve

from populace.actors.engine import REPETITION_DEFAULT, BaseInfo, EngineKind
from populace.actors.host_limits import HostLimits
from populace.actors.hosts_report import HostAnswer
from populace.base.memory_module import MemoryModuleFile
from populace.base.prepare import BaseModelFiles
from populace.base.sampling_defaults import read_sampling_defaults
from populace.base.tool_parser import tool_parser
from populace.cluster.addresses import http_url
from populace.cluster.nodes import STORE_LABELS, store_nodes
from populace.cluster.serve_applications import delete, deploy
from populace.engines import client, replica
from populace.engines.options import EngineOptions
from populace.engines.vllm_environment import vllm_environment
from populace.gateway import deployment
from populace.gateway.http.access import KEY_PATTERN, new_key
from populace.hosting.directory import Directory
from populace.hosting.host_actor import HostOptions, start_hosts
from populace.hosting.host_client import RayHostClient
from populace.hosting.messages import NAMESPACE, GatewayAddress, host_name
from populace.policies.history import HISTORY_TURNS_MAX
from populace.policies.log_retention import LogLimits
from populace.settings.credentials import Credentials
from populace.settings.environment import (
    enter_own_ray_environment,
    quiet_environment,
    telemetry_environment,
)
from populace.settings.machine import has_gpu
from populace.settings.settings import Settings
from populace.settings.sigterm import kept_sigterm
from populace.storage.adapter_store import AdapterStore
from populace.storage.records.errors import ShardUnavailable
from populace.storage.store import Store
from populace.telemetry.options import TelemetryOptions
from populace.trainer.actor import STOP_SECONDS_MAX, TeacherOptions, TrainerOptions, start_trainer

LOCAL_TENANT = "local"
"""The tenant of the person who runs ``populace serve`` on their own machine."""

OBJECT_STORE_BYTES = 128 * 1024 * 1024
"""Size of Ray's shared memory. Messages are small; Ray's default takes a third of the machine."""

ONE_THREAD = {"OMP_NUM_THREADS": "1"}
"""Environment of processes that do not compute, because the cores belong to the engine."""

CLOSE_SECONDS_MAX = 10.0


@contextmanager
def run_ray(settings: Settings) -> Generator[str]:
    """Start a Ray of our own, or join the one that the settings name; yields its address."""
    is_verbose = settings.log_level == "debug"
    if settings.ray_address is None:
        enter_own_ray_environment()
        # Ray's own handler ends its processes before our commits, and dumps a stack.
        with kept_sigterm():
            ray.init(
                address="local",
                namespace=NAMESPACE,
                labels=STORE_LABELS,
                include_dashboard=False,
                object_store_memory=OBJECT_STORE_BYTES,
                logging_level=logging.INFO if is_verbose else logging.ERROR,
                log_to_driver=is_verbose,
            )
    else:
        with kept_sigterm():
            ray.init(address=settings.ray_address, namespace=NAMESPACE, log_to_driver=is_verbose)
    try:
        yield ray.get_runtime_context().gcs_address
    finally:
        with kept_sigterm():
            ray.shutdown()


@contextmanager
def run_population(
    settings: Settings,
    store: Store,
    base: BaseModelFiles,
    engine: EngineKind,
    memory: MemoryModuleFile | None,
    encoder: Path | None,
    report: Callable[[str], None],
    telemetry: TelemetryOptions,
) -> Generator[Directory]:
    """Start hosts, engine replicas and gateway; stop them at the end of the block."""
    context_tokens = min(settings.context_tokens, base.context_tokens)
    module = None if memory is None else memory.digest
    sampling = read_sampling_defaults(base.directory)
    if settings.repetitions == "end":
        sampling = sampling._replace(repetition_detection=REPETITION_DEFAULT)
    else:
        sampling = sampling._replace(own_words_penalty=1.0)
    parser = tool_parser(base.directory, settings.tool_parser) if engine == "vllm" else None
    info = BaseInfo(base.name, base.fingerprint, context_tokens, module, sampling, parser)
    nodes = store_nodes()
    handles: list[object] = []
    trainers: list[object] = []
    gateway = GatewayAddress(http_url(settings), secrets.token_urlsafe(32))
    try:
        report("Starting the hosts")
        handles += start_hosts(
            [
                option._replace(
                    telemetry=telemetry, encoder_directory=None if encoder is None else str(encoder)
                )
                for option in _host_options(settings, store, info, base, gateway)
            ],
            environment=_environment(settings) | ONE_THREAD,
            nodes=nodes,
        )
        if settings.log_level != "debug":
            # Hides Serve's own progress; ours is reported.
            logging.getLogger("ray.serve").setLevel(logging.WARNING)
        serve.start(proxy_location="Disabled", logging_config={"log_level": "WARNING"})
        report(f"Starting the {engine} engine (about half a minute on a small machine)")
        options = _engine_options(settings, base, memory, context_tokens)._replace(tool_parser=parser)
        deploy(
            replica.engine_application(
                engine,
                options,
                gpus=1 if engine == "vllm" and has_gpu() else 0,
                replicas=settings.replicas,
                environment=_engine_environment(settings, engine, options.kv_gib),
                nodes=nodes,
                telemetry=telemetry,
            ),
            client.APPLICATION,
            report,
        )
        report("Starting the gateway")
        deploy(
            deployment.gateway_application(
                _gateway_options(settings, store, info, base, gateway.cluster_key)._replace(
                    telemetry=telemetry
                ),
                environment=_environment(settings) | ONE_THREAD,
                nodes=nodes,
            ),
            deployment.APPLICATION,
            report,
        )
        if settings.training != "off":
            trainers.append(
                start_trainer(
                    _trainer_options(settings, store, info, base, memory)._replace(
                        telemetry=telemetry, replies_directory=settings.cache / "base-replies" / engine
                    ),
                    environment=_environment(settings) | _training_threads(settings),
                    nodes=nodes,
                )
            )
        clients = [RayHostClient(handle, host_name(index)) for index, handle in enumerate(handles)]
        directory = Directory(clients, shard_count=store.shards)
        for lack in asyncio.run(_unserved(directory)):
            report(lack)
        yield directory
    finally:
        with _without_rays_prints(settings):
            for trainer in trainers:
                # The trainer stops first, while the hosts can still receive its progress.
                _stop_actor(trainer, STOP_SECONDS_MAX)
            with contextlib.suppress(Exception):
                delete([deployment.APPLICATION, client.APPLICATION])
            for handle in handles:
                _stop_actor(handle)


@contextmanager
def _without_rays_prints(settings: Settings) -> Generator[None]:
    """Hide what Ray prints, on threads of its own, about the actors that are being stopped."""
    with contextlib.redirect_stdout(sys.stdout if settings.log_level == "debug" else io.StringIO()):
        yield


def ensure_key(directory: Directory, credentials: Credentials, store_id: str) -> str:
    """Return an API key of the local tenant: that of earlier runs if it is still valid, else a new one."""
    return asyncio.run(_ensure_key(directory, credentials, store_id))


async def _ensure_key(directory: Directory, credentials: Credentials, store_id: str) -> str:
    kept = credentials.find(store_id)
    match = KEY_PATTERN.fullmatch(kept) if kept else None
    if kept is not None and match is not None:
        with contextlib.suppress(ShardUnavailable):
            known = await directory.find_key(match.group(1))
            if known is not None and known.revoked_ms is None:
                return kept
    while True:
        text, key = new_key(LOCAL_TENANT, "local user", now_ms=time.time_ns() // 1_000_000)
        try:
            await directory.create_key(key)
        except ShardUnavailable:
            # The key's id decides its shard.
            if not await _serves_any(directory):
                raise
        else:
            credentials.keep(store_id, text)
            return text


async def _serves_any(directory: Directory) -> bool:
    return any(host.store.shards_open for host in await directory.statistics())


async def _unserved(directory: Directory) -> list[str]:
    """Say which hosts do not serve all of their shards."""
    answers = [HostAnswer(host.host, len(host.shards), host) for host in await directory.statistics()]
    return [f"{answer.host} {answer.lack}; its log says why" for answer in answers if answer.lack]


def _stop_actor(handle: object, seconds_max: float = CLOSE_SECONDS_MAX) -> None:
    """Let a host finish its commits, or a trainer save its sessions, then end it; a dead one is fine."""
    with contextlib.suppress(Exception):
        ray.get(handle.close.remote(), timeout=seconds_max)  # type: ignore[attr-defined]
    with contextlib.suppress(Exception):
        ray.kill(handle)  # type: ignore[arg-type]


def _host_options(
    settings: Settings, store: Store, info: BaseInfo, base: BaseModelFiles, gateway: GatewayAddress
) -> list[HostOptions]:
    limits = HostLimits(
        resident_bytes_max=settings.resident_bytes_max,
        idle_seconds_max=settings.idle_seconds_max,
        mailbox_max=settings.mailbox_max,
        operation_seconds_kept=settings.operation_seconds_max,
        has_trainer=settings.training != "off",
        rank_max=settings.rank_max,
        log=LogLimits(
            interactions_min=HISTORY_TURNS_MAX,
            seconds_kept=settings.log_seconds_max,
            interactions_max=settings.log_interactions_max,
            bytes_max=settings.log_bytes_max,
        ),
    )
    return [
        HostOptions(
            number=index,
            hosts=settings.hosts,
            shards=store.shards,
            data_directory=str(settings.data),
            base=info,
            base_directory=str(base.directory),
            limits=limits,
            has_engine=True,
            master_key=None if settings.master_key is None else str(settings.master_key),
            gateway=gateway,
            community=settings.community,
            journal=settings.journal_options,
        )
        for index in range(settings.hosts)
    ]


def _trainer_options(
    settings: Settings,
    store: Store,
    info: BaseInfo,
    base: BaseModelFiles,
    memory: MemoryModuleFile | None,
) -> TrainerOptions:
    return TrainerOptions(
        hosts=settings.hosts,
        shards=store.shards,
        data_directory=str(settings.data),
        base=info,
        base_directory=str(base.directory),
        rank_max=settings.rank_max,
        device=settings.training_device,
        automatic=settings.training == "auto",
        memory_module=None if memory is None else memory.path,
        master_key=settings.master_key,
        kept_bytes_max=settings.kept_training_bytes_max,
        teacher=_teacher_options(settings),
    )


def _training_threads(settings: Settings) -> dict[str, str]:
    # GNU OpenMP's threads otherwise spin for long after each product, on cores that others need: beside
    # another program with as many threads a step took three times as long as with half of the cores.
    return {"OMP_NUM_THREADS": str(settings.training_threads), "GOMP_SPINCOUNT": "2000"}


def _teacher_options(settings: Settings) -> TeacherOptions | None:
    if settings.teacher_url is None or settings.teacher_model is None:
        return None
    return TeacherOptions(settings.teacher_url, settings.teacher_model, settings.teacher_key)


def _engine_options(
    settings: Settings, base: BaseModelFiles, memory: MemoryModuleFile | None, context_tokens: int
) -> EngineOptions:
    return EngineOptions(
        base.directory,
        base.fingerprint,
        context_tokens,
        name=base.name,
        sequences_max=settings.sequences_max,
        adapter_slots=settings.adapter_slots,
        rank_max=settings.rank_max,
        waiting_max=settings.waiting_max,
        threads=settings.threads,
        memory_module=None if memory is None else memory.path,
        kv_gib=settings.kv_gib,
        warm_bytes_max=max(1, settings.warm_bytes_max // settings.replicas),
        residency_policy=settings.residency_policy,
        trace_directory=settings.residency_trace,
    )


def _environment(settings: Settings) -> dict[str, str]:
    """Return the variables of every process; those of OpenTelemetry also where Ray runs already."""
    exports = settings.trace_target is not None or settings.metrics_push_seconds is not None
    return quiet_environment() | (telemetry_environment() if exports else {})


def _engine_environment(settings: Settings, engine: EngineKind, kv_gib: int) -> dict[str, str]:
    if engine == "vllm":
        return _environment(settings) | vllm_environment(settings.threads, kv_gib=kv_gib)
    return _environment(settings) | {"OMP_NUM_THREADS": str(settings.threads)}


def _gateway_options(
    settings: Settings, store: Store, info: BaseInfo, base: BaseModelFiles, cluster_key: str
) -> deployment.GatewayOptions:
    return deployment.GatewayOptions(
        host=settings.host,
        port=settings.port,
        hosts=settings.hosts,
        shards=store.shards,
        base=info,
        turn_seconds_max=settings.turn_seconds_max,
        body_bytes_max=settings.body_bytes_max,
        archive_bytes_max=settings.archive_bytes_max,
        file_bytes_max=settings.file_bytes_max,
        tenant_file_bytes_max=settings.tenant_file_bytes_max,
        destination=AdapterStore(settings.data, base.directory, base.fingerprint, settings.rank_max),
        master_key=settings.master_key,
        cluster_key=cluster_key,
        recognises_tasks=settings.task_prompts == "peek",
        cors_origins=settings.allowed_origins,
        tools_auto=settings.tool_choice_auto,
        vllm_names=settings.metrics_vllm_names,
        replicas=settings.replicas,
        metrics_address=(
            None if settings.metrics_port is None else (settings.metrics_host, settings.metrics_port)
        ),
        metrics_push_seconds=settings.metrics_push_seconds,
    )
