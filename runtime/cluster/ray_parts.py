# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# Ray's API is partly untyped.
"""The parts of a running Populace that are Ray's: cluster, host actors, Serve deployments."""

import asyncio
import contextlib
import hashlib
import logging
import secrets
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import ray
from ray import serve
from ray._private import worker

from populace.actors.engine import EngineKind
from populace.actors.host_limits import HostLimits
from populace.actors.hosts_report import HostAnswer
from populace.cluster.engine_parts import cluster_note, engine_options, start_engines
from populace.cluster.engine_plan import EnginePlan
from populace.cluster.engine_watch import EngineWatch
from populace.cluster.former_parts import stop_actor, stop_named
from populace.cluster.gateway_watch import GatewayWatch
from populace.cluster.host_watch import HostStart, HostWatch
from populace.cluster.joining.cluster_note import publish
from populace.cluster.joining.driver import join_ray
from populace.cluster.joining.raylet import OBJECT_STORE_BYTES
from populace.cluster.own_ray import ended_process, start_ray
from populace.cluster.process_environment import cluster_environment
from populace.cluster.serve_applications import delete, deploy
from populace.cluster.store_side import StoreSide
from populace.cluster.store_watch import StoreWatch
from populace.cluster.trainer_parts import trainer_options, training_threads
from populace.cluster.watching import watched
from populace.engines import client
from populace.engines.engine_nodes import ENGINE_LABELS
from populace.gateway import deployment
from populace.gateway.http.access import KEY_PATTERN, new_key, proved
from populace.hosting.directory.directory import Directory
from populace.hosting.host_actor import start_hosts
from populace.hosting.host_client import RayHostClient
from populace.hosting.host_options import HostOptions
from populace.hosting.loopback import at_loopback
from populace.hosting.messages import NAMESPACE, GatewayAddress, host_name
from populace.hosting.ray_token import ray_token
from populace.hosting.store_node import STORE_LABELS, Home
from populace.node_files.ray_hosts import StoreHosts
from populace.policies.history import HISTORY_TURNS_MAX
from populace.policies.log_retention import LogLimits
from populace.settings.cluster_token import own_token
from populace.settings.credentials import Credentials
from populace.settings.environment import enter_own_ray_environment, named_config_file, ray_port
from populace.settings.settings import Settings
from populace.settings.signals import ignored_hangup, kept_sigterm
from populace.storage.adapter_store import AdapterStore
from populace.storage.journal.options import JournalOptions
from populace.storage.records.errors import ShardUnavailable
from populace.trainer.actor import STOP_SECONDS_MAX, start_trainer

logger = logging.getLogger(__name__)

LINE_MAX = 200


def log_messages() -> None:
    """Log what Ray would print of its own accord, the first words of each message. For a driver."""
    # There is no setting for it: ``log_to_driver`` is about the output of workers.
    worker.print_to_stdstream = _log


@contextmanager
def messages_dropped() -> Generator[None]:
    """Drop what Ray says during the block, in which what it names is ended on purpose."""
    former = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(former)


def _log(data: dict[str, Any], ignore_prefix: bool) -> None:
    del ignore_prefix
    for message in data["lines"]:
        words = " ".join(str(message).split())
        logger.warning("Ray: %s", words if len(words) <= LINE_MAX else f"{words[:LINE_MAX]}…")


LOCAL_TENANT = "local"
"""The tenant of the person who runs ``populace serve`` on their own machine."""

CREATING = {"local": frozenset({LOCAL_TENANT}), "all": None, "none": frozenset[str]()}
"""The tenants whose chats create models, by the setting; None: all."""

ONE_THREAD = {"OMP_NUM_THREADS": "1"}
"""Environment of processes that do not compute, because the cores belong to the engine."""


@contextmanager
def run_ray(settings: Settings) -> Generator[str]:
    """Start a Ray of our own, or join the one that the settings name; yields its address."""
    is_verbose = settings.log_level == "debug"
    with contextlib.ExitStack() as stack:
        if settings.ray_address is None:
            enter_own_ray_environment(may_grow=settings.may_grow)
            stack.enter_context(ray_token(own_token(settings.cluster_token)))
            stack.enter_context(named_config_file(settings.config_file))
            stack.enter_context(ray_port(settings.cluster_port))
            is_alone = not settings.may_grow and settings.cluster_host is None
            # Ray's own handler ends its processes before our commits, and dumps a stack.
            with kept_sigterm(), ignored_hangup(), at_loopback() if is_alone else contextlib.nullcontext():
                start_ray(
                    namespace=NAMESPACE,
                    labels=STORE_LABELS | ENGINE_LABELS,
                    include_dashboard=False,
                    object_store_memory=OBJECT_STORE_BYTES,
                    logging_level=logging.INFO if is_verbose else logging.ERROR,
                    log_to_driver=is_verbose,
                    _node_ip_address=settings.cluster_host,
                )
        else:
            join_ray(settings.ray_address, is_verbose=is_verbose)
        if not is_verbose:
            log_messages()
        try:
            yield ray.get_runtime_context().gcs_address
        finally:
            with kept_sigterm():
                ray.shutdown()


@contextmanager
def run_population(
    plan: EnginePlan, engine: EngineKind, journal: JournalOptions | None, report: Callable[[str], None]
) -> Generator[Directory]:
    """Start hosts, engine replicas and gateway; stop them at the end of the block.

    ``journal`` is that of this run.
    """
    side, engines, preferred = plan.side, plan.engines, plan.preferred
    nodes = dict(plan.store_labels)
    settings, base, info, memory, telemetry = (
        side.settings,
        side.base,
        side.info,
        side.memory,
        side.telemetry,
    )
    home = _home(side, journal)
    publish(cluster_note(base, engine, engines, home))
    trainers: list[object] = []
    gateway = GatewayAddress(side.url, secrets.token_urlsafe(32))
    try:
        report("Starting the hosts")
        start = HostStart(
            [
                option._replace(
                    telemetry=telemetry,
                    encoder_directory=None if side.encoder is None else str(side.encoder),
                    memory_module=None if memory is None else str(memory.path),
                    home=home,
                    journal=journal,
                )
                for option in _host_options(side, gateway)
            ],
            cluster_environment(settings) | ONE_THREAD,
            nodes,
            preferred,
        )
        handles = start_hosts(
            start.options, environment=start.environment, nodes=start.nodes, preferred=start.preferred
        )
        if settings.log_level != "debug":
            # Hides Serve's own progress; ours is reported.
            logging.getLogger("ray.serve").setLevel(logging.WARNING)
        serve.start(proxy_location="Disabled", logging_config={"log_level": "WARNING"})
        report(f"Starting the {engine} engine (about half a minute on a small machine)")
        options = engine_options(settings, base, memory, info.context_tokens, plan.asked)._replace(
            tool_parser=info.tool_parser
        )
        hosts = StoreHosts(NAMESPACE, tuple(host_name(number) for number in range(settings.hosts)))
        start_engines(settings, engine, options, hosts, nodes=engines, telemetry=telemetry, report=report)
        gateway_options = _gateway_options(side, gateway.cluster_key)._replace(
            telemetry=telemetry, engine_nodes=engines, home=home, grows=settings.may_grow
        )
        gateway_environment = cluster_environment(settings) | ONE_THREAD
        report("Starting the gateway" if settings.gateways == 1 else "Starting the gateways")
        deploy(
            deployment.gateway_application(
                gateway_options, environment=gateway_environment, nodes=nodes, preferred=preferred
            ),
            deployment.APPLICATION,
            report,
        )
        if settings.training != "off":
            trainers.append(
                start_trainer(
                    trainer_options(side, engine, plan.shares, home),
                    environment=cluster_environment(settings) | training_threads(settings),
                    nodes=nodes,
                    preferred=preferred,
                )
            )
        clients = [RayHostClient(handle, host_name(index)) for index, handle in enumerate(handles)]
        directory = Directory.over(clients, shard_count=side.shards)
        for lack in asyncio.run(_unserved(directory)):
            report(lack)
        with contextlib.ExitStack() as stack:
            if settings.may_grow:
                gateways = GatewayWatch(gateway_options, gateway_environment, report)
                stack.enter_context(watched("engine nodes", EngineWatch(engines, report).look))
                stack.enter_context(watched("gateway nodes", gateways.look))
                stack.enter_context(watched("hosts", HostWatch(start, report).look))
                stack.enter_context(watched("store nodes", StoreWatch(report).look))
            yield directory
    finally:
        # Without its raylet all of them have ended, and Ray would be asked in vain.
        if ended_process() is None:
            with messages_dropped():  # they are about the actors that are being stopped
                for trainer in trainers:
                    # The trainer stops first, while the hosts can still receive its progress.
                    stop_actor(trainer, STOP_SECONDS_MAX)
                with contextlib.suppress(Exception):
                    delete([deployment.APPLICATION, client.APPLICATION])
                for number in range(settings.hosts):
                    stop_named(host_name(number))


def ensure_key(directory: Directory, credentials: Credentials, store_id: str) -> str:
    """Return an API key of the local tenant: that of earlier runs if it is still valid, else a new one."""
    return asyncio.run(_ensure_key(directory, credentials, store_id))


async def _ensure_key(directory: Directory, credentials: Credentials, store_id: str) -> str:
    kept = credentials.find(store_id)
    match = KEY_PATTERN.fullmatch(kept) if kept else None
    now_ms = time.time_ns() // 1_000_000
    if kept is not None and match is not None:
        with contextlib.suppress(ShardUnavailable):
            known = await directory.keys.find(match.group(1))
            digest = hashlib.sha256(match.group(2).encode()).digest()
            found = proved(known, digest, now_ms)
            if found is not None and not found.has_ended(now_ms):
                return kept
    while True:
        text, key = new_key(LOCAL_TENANT, "local user", now_ms=now_ms)
        try:
            await directory.keys.create(key)
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


def _home(side: StoreSide, journal: JournalOptions | None) -> Home | None:
    """Return where the store is, whose paths all parts get; None if no other node can take over."""
    if journal is None:
        return None
    return Home(side.node or ray.get_runtime_context().get_node_id(), side.store_id, journal)


def _host_options(side: StoreSide, gateway: GatewayAddress) -> list[HostOptions]:
    settings = side.settings
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
            shards=side.shards,
            data_directory=str(settings.data),
            base=side.info,
            base_directory=str(side.base.directory),
            limits=limits,
            has_engine=True,
            master_key=None if settings.master_key is None else str(settings.master_key),
            gateway=gateway,
            community=settings.community,
        )
        for index in range(settings.hosts)
    ]


def _gateway_options(side: StoreSide, cluster_key: str) -> deployment.GatewayOptions:
    settings, base = side.settings, side.base
    return deployment.GatewayOptions(
        host=settings.host,
        port=settings.port,
        hosts=settings.hosts,
        shards=side.shards,
        base=side.info,
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
        creating=CREATING[settings.new_models],
        vllm_names=settings.metrics_vllm_names,
        metrics_address=(
            None if settings.metrics_port is None else (settings.metrics_host, settings.metrics_port)
        ),
        metrics_push_seconds=settings.metrics_push_seconds,
        gateways=settings.gateways,
        states=None if side.memory is None else side.memory.states,
    )
