"""Links between three machines are slow, lose packets and break, while people talk on both sides of them.

The machines are network namespaces (``network.py``): a head with some of the people, and two store nodes, of
which the first has the hosts and more people. When it is cut off, its hosts and its people live on and still
reach the bucket, while other hosts take over on the second node: two owners of each shard believe in
themselves, and each has people. At the end all logs are read and compared with what anyone got acknowledged.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from populace.settings.environment import CLUSTER_RAY_ENVIRONMENT, process_environment, quiet_environment
from populace.storage.journal.description import describe
from populace.storage.journal.opening import open_bucket
from populace.storage.records.master_key import MASTER_KEY_FILE
from populace.storage.store import Store
from scripts.bench.failover.link_people import PEOPLE, SHARDS, SYNC, bucket_url
from scripts.bench.failover.network import Network, network, why_not
from scripts.bench.failover.served_again import served_aim
from scripts.bench.processes import BenchFailed, child
from scripts.bench.report import Aim, BenchReport, Row, percentile

HEAD, ONE, TWO = "head", "one", "two"
PORT = 6379
OBJECT_STORE_BYTES = 128 * 2**20
STORE_LABEL = "populace.store=true"
STEP_SECONDS_MAX = 600.0
STARTED = "Ray runtime started"
LOOK_SECONDS = 0.2

OWN_VARIABLES = {"RAY_AUTH_MODE": "disabled", "RAY_gcs_rpc_server_reconnect_timeout_s": "600"}
"""Only this process reaches the network. A raylet that does not reach the head lives on for ten minutes, and
so does the owner of the shards that another one has taken.
"""

LOST_SECONDS_MAX = 1.5
"""How much of a former owner's last turns ``async`` may lose: it ships each half second."""

Report = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class LinkBench:
    """Each state of the links lasts for ``seconds``; in the last one, until all people are served again."""

    seconds: float = 10.0
    modes: Sequence[str] = (SYNC, "async")
    delay_s: float = 0.04
    loss: float = 0.02


@dataclass(frozen=True, slots=True)
class Said:
    """A turn that was acknowledged to someone; times are those of the monotonic clock."""

    model: str
    operation: str
    position: int
    begun_s: float
    at_s: float


def break_links(bench: LinkBench, root: Path, result: BenchReport, report: Report) -> None:
    """Run each mode, and add rows and aims to ``result``; a note says if there can be no network here."""
    reason = why_not()
    if reason is not None:
        result.notes.append(f"no links were cut: {reason}")
        return
    for number, mode in enumerate(bench.modes):
        report(f"Cutting links, {mode}", number / len(bench.modes))
        (root / mode).mkdir()
        _break(bench, mode, root / mode, result)


def _break(bench: LinkBench, mode: str, root: Path, result: BenchReport) -> None:
    with ExitStack() as stack:
        net = stack.enter_context(network((HEAD, ONE, TWO)))
        _lay_out(root, net, stack)
        _step(net, HEAD, f"start-{mode}", root)
        near = stack.enter_context(_people(net, HEAD, "talk-near", root))
        far = stack.enter_context(_people(net, ONE, "talk-far", root))
        _wait_talking(root, near, "talk-near", 0.0)
        _wait_talking(root, far, "talk-far", 0.0)
        since_s = time.monotonic()
        time.sleep(bench.seconds)
        _add_row(result, mode, "links are well", root, since_s)
        net.delay_s, net.loss = bench.delay_s, bench.loss
        since_s = time.monotonic()
        time.sleep(bench.seconds)
        slow = f"each packet {bench.delay_s * 1000:.0f} ms late, {bench.loss:.0%} lost"
        _add_row(result, mode, slow, root, since_s)
        net.delay_s = net.loss = 0.0
        net.cut(ONE)
        cut_s = time.monotonic()
        _wait_talking(root, near, "talk-near", cut_s)
        time.sleep(bench.seconds)
        near.kill()
        far.kill()
        again = [min(turn.at_s for turn in turns) - cut_s for turns in _begun_since(root, cut_s)]
        net.cut()
        _step(net, HEAD, "read", root)
    _add_row(result, mode, "the store node is cut off", root, cut_s, again)
    _add_aims(result, mode, root)


def _lay_out(root: Path, net: Network, stack: ExitStack) -> None:
    """Make a store, its bucket and the machines' directories, and start Ray on all of them."""
    (root / "bucket").mkdir()
    store = Store.create_or_open(root / HEAD, SHARDS)
    describe(open_bucket(bucket_url(root)), store)
    (root / "preferred").write_text(net.address(ONE))
    # Sockets would have too long a name elsewhere.
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="populace-", dir="/tmp"))
    at_head = ["--head", "--port", str(PORT), "--include-dashboard", "false", "--temp-dir", folder]
    for name in (HEAD, ONE, TWO):
        own = (
            at_head if name == HEAD else ["--address", f"{net.address(HEAD)}:{PORT}", "--labels", STORE_LABEL]
        )
        if name != HEAD:
            (root / name).mkdir()
            shutil.copy(root / HEAD / MASTER_KEY_FILE, root / name / MASTER_KEY_FILE)
        environment = process_environment(
            **quiet_environment(),
            **CLUSTER_RAY_ENVIRONMENT,
            **OWN_VARIABLES,
            POPULACE_DATA=str(root / name),
            POPULACE_CACHE=str(root / "cache"),
        )
        command = net.command(name, sys.executable, "-m", "ray.scripts.scripts", "start", "--block", *own)
        command += ["--node-ip-address", net.address(name), "--num-cpus", "1"]
        command += ["--object-store-memory", str(OBJECT_STORE_BYTES)]
        log = root / f"ray-{name}.log"
        # One after the other: nodes that share a folder take each other's sockets if they start at once.
        _wait_started(stack.enter_context(child(command, environment, log)), log)


def _wait_started(process: "subprocess.Popen[bytes]", log: Path) -> None:
    give_up = time.monotonic() + STEP_SECONDS_MAX
    while STARTED not in (said := log.read_text()):
        if process.poll() is not None or time.monotonic() > give_up:
            raise BenchFailed(f"a node of Ray's does not start:\n{said[-2000:]}")
        time.sleep(LOOK_SECONDS)


def _command(net: Network, name: str, step: str, root: Path) -> list[str]:
    program = ["-m", "scripts.bench.failover.link_people", step, str(root)]
    address = f"{net.address(HEAD)}:{PORT}"
    return net.command(name, sys.executable, *program, address, net.address(name))


def _environment() -> dict[str, str]:
    return process_environment(**quiet_environment(), **CLUSTER_RAY_ENVIRONMENT, **OWN_VARIABLES)


def _step(net: Network, name: str, step: str, root: Path) -> None:
    command = _command(net, name, step, root)
    log = root / f"{step}.log"
    with log.open("wb") as output:
        ended = subprocess.run(
            command, env=_environment(), stdout=output, stderr=output, timeout=STEP_SECONDS_MAX, check=False
        )
    if ended.returncode:
        raise BenchFailed(f"{step} ended with {ended.returncode}:\n{log.read_text()[-2000:]}")


@contextmanager
def _people(net: Network, name: str, step: str, root: Path) -> Generator["subprocess.Popen[bytes]"]:
    with child(_command(net, name, step, root), _environment(), root / f"{step}.log") as process:
        yield process


def _lines(root: Path, step: str) -> list[dict[str, Any]]:
    file = root / f"{step}.jsonl"
    # The last line of one that was killed may be a part.
    whole = file.read_text(encoding="utf-8").rpartition("\n")[0] if file.exists() else ""
    return [json.loads(line) for line in whole.splitlines()]


def _said(root: Path, step: str) -> list[Said]:
    return [Said(**line) for line in _lines(root, step) if "error" not in line]


def _wait_talking(root: Path, process: "subprocess.Popen[bytes]", step: str, since_s: float) -> None:
    """Wait until each person there has a turn that was begun since then."""
    give_up = time.monotonic() + STEP_SECONDS_MAX
    while len({turn.model for turn in _said(root, step) if turn.begun_s >= since_s}) < PEOPLE:
        if process.poll() is not None or time.monotonic() > give_up:
            log = (root / f"{step}.log").read_text()[-2000:]
            raise BenchFailed(f"not all people of {step} are served:\n{log}")
        time.sleep(LOOK_SECONDS)


def _begun_since(root: Path, since_s: float) -> list[list[Said]]:
    """The turns of each person at the head that were begun since then."""
    turns = [turn for turn in _said(root, "talk-near") if turn.begun_s >= since_s]
    return [[turn for turn in turns if turn.model == model] for model in sorted({one.model for one in turns})]


def _add_row(
    result: BenchReport, mode: str, what: str, root: Path, since_s: float, again: Sequence[float] = ()
) -> None:
    took: list[float] = []
    errors: Counter[str] = Counter()
    for step in ("talk-near", "talk-far"):
        took += [(turn.at_s - turn.begun_s) * 1000 for turn in _said(root, step) if turn.begun_s >= since_s]
        errors.update(
            line["error"] for line in _lines(root, step) if "error" in line and line["at_s"] >= since_s
        )
    row: Row = {
        "what": what,
        "journal": f"{mode}, directory",
        "count": len(took),
        "p50 ms": round(percentile(took, 50), 1),
        "p99 ms": round(percentile(took, 99), 1),
        "errors": ", ".join(f"{code} {count}" for code, count in errors.most_common()) or "none",
    }
    if again:
        row |= {"p50 s": round(percentile(again, 50), 2), "p99 s": round(percentile(again, 99), 2)}
        result.aims.append(served_aim(f"{what}, {mode}", again))
    result.rows.append(row)


def _add_aims(result: BenchReport, mode: str, root: Path) -> None:
    read = _lines(root, "read")
    positions = {(line["model"], line["operation"]): line["position"] for line in read}
    doubled = len(read) - len(positions)
    lost: list[Said] = []
    span_s = 0.0
    acknowledged = 0
    for step in ("talk-near", "talk-far"):
        turns = _said(root, step)
        acknowledged += len(turns)
        absent = [turn for turn in turns if positions.get((turn.model, turn.operation)) != turn.position]
        lost += absent
        for model in {turn.model for turn in absent}:
            ends = [turn.at_s for turn in absent if turn.model == model]
            span_s = max(span_s, max(ends) - min(ends))
    result.aims.append(
        Aim(f"turns that took effect twice when links broke, {mode}", doubled, 0, "turns", at_most=True)
    )
    if mode == SYNC:
        name = f"acknowledged turns that were lost when links broke, {mode}"
        result.aims.append(Aim(name, len(lost), 0, "turns", at_most=True))
    else:
        name = f"seconds of a model's acknowledged turns that were lost when links broke, {mode}"
        result.aims.append(Aim(name, round(span_s, 2), LOST_SECONDS_MAX, "s", at_most=True))
    result.notes.append(
        f"{acknowledged:,} turns were acknowledged on both sides of the links in {mode} mode, of which "
        f"{len(lost)} are lost"
    )
