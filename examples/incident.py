"""Makes an incident and reads it: a host is killed under load, and logs, metrics and a trace tell of it.

Two hosts serve people who talk without a pause, each with an operation id and again after an error, as a
careful client does. The busier one is killed with kill -9. When all have been answered again, the program
prints what an operator sees, in the order in which one would look: the metrics around the kill, the warnings
and the hosts' lines of the log, and the log and the trace of a request that was under way. It ends with 1
if one of these does not show the incident.

    python examples/incident.py
    python examples/incident.py --people 8 --json incident.json
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import httpx
from prometheus_client.parser import text_string_to_metric_families

from scripts.bench.load import Endpoint
from scripts.bench.serve import ServeBench, populace_serve

VARIABLES = {"POPULACE_TELEMETRY": "file", "POPULACE_TELEMETRY_SAMPLE": "1", "POPULACE_HOSTS": "2"}

SECONDS_MAX = 600.0
"""How long each part of the incident may last before the program gives up."""
LOOK_SECONDS = 0.1
REPLY_TOKENS = 24
PROMPT = "Tell me in one sentence what the weather is like where you are. It is number {number}."


class Attempt(NamedTuple):
    """A request, by the id that it was sent with: who sent it, when it began and ended, and its status.

    The status is None if the connection broke. ``code`` is that of the error, if there was one.
    """

    request_id: str
    model: str
    began_s: float
    ended_s: float
    status: int | None
    code: str | None = None

    @property
    def seconds(self) -> float:
        return self.ended_s - self.began_s


class Look(NamedTuple):
    """What the metrics said at a moment: which hosts were up, and how many turns each had committed."""

    at_s: float
    up: Mapping[str, float]
    turns: Mapping[str, float]
    unserved_share: float


class Incident(NamedTuple):
    """All that was seen. ``lines`` are those of the log, ``spans`` those of the request that ``waited``."""

    killed_at_s: float
    killed_pid: int
    attempts: Sequence[Attempt]
    looks: Sequence[Look]
    lines: Sequence[Mapping[str, Any]]
    spans: Sequence[Mapping[str, Any]]
    waited: Attempt


class Finding(NamedTuple):
    """Something that shows the incident, where it was looked for, and whether it was there."""

    where: str
    shows: str
    is_there: bool


def findings(incident: Incident) -> list[Finding]:
    """Look for what each of the three tells of a killed host."""
    killed_at_s, looks, spans = incident.killed_at_s, incident.looks, incident.spans
    before = [look for look in looks if look.at_s < killed_at_s]
    away = [look for look in looks if look.at_s > killed_at_s and 0.0 in look.up.values()]
    gone = {host for look in away for host, is_up in look.up.items() if not is_up}
    after = [line for line in incident.lines if seconds_of(line) > killed_at_s]
    pids = {line["pid"] for line in incident.lines if line["process"] == "host"}
    new_hosts = [line for line in after if line["process"] == "host" and "begins" in line["msg"]]
    # How many depends on where their turns were: those that the engine is answering outlive their host.
    refused = {attempt.request_id for attempt in incident.attempts if attempt.status == 503}
    explained = {line.get("request_id") for line in after if line.get("error.code") == "host_unavailable"}
    of_hosts = [span for span in spans if span["process"].startswith("host-")]
    whole = [span for span in spans if span["process"].startswith("gateway-")]
    return [
        Finding("metrics", "one host was away, and the other was not", len(gone) == 1),
        Finding(
            "metrics",
            "a share of the people was not served meanwhile, and not all of them",
            any(0 < look.unserved_share < 1 for look in away),
        ),
        Finding(
            "metrics",
            "that host's figures were gone, and came back with it",
            any(
                before[-1].up[host] == 1
                and any(host not in look.turns for look in away)
                and any(look.at_s > away[-1].at_s and host in look.turns for look in looks)
                for host in gone
            ),
        ),
        Finding(
            "log", "a host of another process id begins", bool(new_hosts) and incident.killed_pid in pids
        ),
        Finding(
            "log",
            "it takes the shards over at a later epoch",
            any("is owned by" in line["msg"] for line in after if line["process"] == "host"),
        ),
        Finding(
            "log",
            "every request that was refused meanwhile names its host",
            bool(new_hosts) and refused <= explained,
        ),
        Finding(
            "trace",
            "the request spans the kill in the gateway",
            any(_began_s(span) < killed_at_s < _ended_s(span) for span in whole),
        ),
        Finding(
            "trace",
            "what it does at a host begins after the kill, or ended in an error",
            any(_began_s(span) > killed_at_s for span in of_hosts) or any(span["error"] for span in spans),
        ),
        Finding(
            "clients",
            "everybody was answered again after the kill",
            {attempt.model for attempt in incident.attempts}
            == {a.model for a in incident.attempts if a.status == 200 and a.began_s > killed_at_s},
        ),
    ]


def that_waited(
    attempts: Sequence[Attempt], lines: Sequence[Mapping[str, Any]], killed_at_s: float
) -> Attempt:
    """Return the longest request that was under way at the kill, best of all one whose host was away."""
    away = {line.get("request_id") for line in lines if line.get("error.code") == "host_unavailable"}
    under_way = [attempt for attempt in attempts if attempt.began_s < killed_at_s < attempt.ended_s]
    if not under_way:
        raise SystemExit("No request was under way when the host was killed: try more --people.")
    return max(under_way, key=lambda attempt: (attempt.request_id in away, attempt.seconds))


def seconds_of(line: Mapping[str, Any]) -> float:
    """Return when a line was logged, in seconds since 1970."""
    return datetime.strptime(line["ts"], "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC).timestamp()


def look_at(metrics: str, at_s: float) -> Look:
    """Read what the metrics say of hosts."""
    named: dict[str, dict[str, float]] = {}
    for family in text_string_to_metric_families(metrics):
        for sample in family.samples:
            named.setdefault(sample.name, {})[sample.labels.get("host", "")] = sample.value
    return Look(
        at_s,
        named["populace_host_up"],
        named.get("populace_host_turns_total", {}),
        named["populace_unserved_share"][""],
    )


class Load:
    """People who talk without a pause, and the metrics, which are looked at all the time."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._ending = threading.Event()
        self._changed = threading.Condition()
        self.attempts: list[Attempt] = []
        self.looks: list[Look] = []

    def end(self) -> None:
        self._ending.set()

    def talk(self, model: str) -> None:
        """Send one turn after the other, each until it is answered."""
        with httpx.Client(base_url=self._endpoint.url, timeout=SECONDS_MAX, trust_env=False) as client:
            number = 0
            while not self._ending.is_set():
                number += 1
                tries = 0
                while (
                    not self._answered(client, model, f"{model}-{number}", tries)
                    and not self._ending.is_set()
                ):
                    tries += 1
                    time.sleep(1)

    def watch(self) -> None:
        """Look at the metrics again and again."""
        with httpx.Client(base_url=self._endpoint.url, timeout=SECONDS_MAX, trust_env=False) as client:
            while not self._ending.is_set():
                metrics = client.get("/metrics").text
                # It tells of nothing later than this, and may tell of a kill while it was asked for.
                look = look_at(metrics, time.time())
                with self._changed:
                    self.looks.append(look)
                    self._changed.notify_all()
                time.sleep(LOOK_SECONDS)

    def wait_until_all_answered(self, since_s: float) -> None:
        """Wait until each person has a reply to a turn that began later."""

        def answered() -> bool:
            got = {one.model for one in self.attempts if one.status == 200 and one.began_s > since_s}
            return got >= set(self._endpoint.models)

        self._wait_for(answered, "not everybody was answered")

    def wait_until_all_up(self, since_s: float) -> None:
        """Wait until a host was away, and all are there again."""

        def is_over() -> bool:
            later = [look for look in self.looks if look.at_s > since_s]
            return any(0.0 in look.up.values() for look in later) and 0.0 not in later[-1].up.values()

        self._wait_for(is_over, "the metrics did not show a host that goes and comes back")

    def busiest_host(self) -> str:
        """Return the host that has committed most turns, once the metrics show one of each person."""
        people = len(self._endpoint.models)
        self._wait_for(
            lambda: bool(self.looks) and sum(self.looks[-1].turns.values()) >= people,
            "the metrics did not show everybody's turn",
        )
        turns = self.looks[-1].turns
        return max(turns, key=turns.__getitem__)

    def _wait_for(self, condition: Callable[[], bool], message: str) -> None:
        with self._changed:
            if not self._changed.wait_for(condition, SECONDS_MAX):
                raise SystemExit(f"After {SECONDS_MAX:.0f} s {message}.")

    def _answered(self, client: httpx.Client, model: str, operation: str, tries: int) -> bool:
        request_id = f"incident-{operation}-{tries}"
        began_s = time.time()
        status, code = None, None
        try:
            reply = client.post(
                "/v1/chat/completions",
                headers={
                    "Authorization": f"Bearer {self._endpoint.api_key}",
                    "Idempotency-Key": operation,
                    "X-Request-Id": request_id,
                },
                json={
                    "model": model,
                    "messages": [{"role": "user", "content": PROMPT.format(number=operation)}],
                    "max_tokens": REPLY_TOKENS,
                },
            )
            status = reply.status_code
            code = None if status == 200 else reply.json()["error"]["code"]
        except httpx.HTTPError as error:
            code = type(error).__name__
        with self._changed:
            self.attempts.append(Attempt(request_id, model, began_s, time.time(), status, code))
            self._changed.notify_all()
        return status == 200


def process_of(data: Path, host: str) -> int:
    """Return the process id of a host such as ``populace-host-1``, which its lines of the log have."""
    number = host.rpartition("-")[2]
    *_, last = json_lines(read(data, "logs", "--json", "--process", f"host-{number}"))
    return last["pid"]


def read(data: Path, *command: str) -> str:
    """Run one of Populace's commands that read files of its data directory, and return what it printed."""
    whole = [sys.executable, "-m", "populace", *command, "--data", str(data)]
    ended = subprocess.run(whole, capture_output=True, text=True, timeout=SECONDS_MAX)
    if ended.returncode:
        raise SystemExit(f"populace {' '.join(command)}: {ended.stderr or ended.stdout}")
    return ended.stdout


def json_lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def make_incident(people: int, work: Path) -> Incident:
    """Serve, kill a host under load, wait until all are served again, stop, and read the files."""
    bench, data = ServeBench(streams=(people,), adapters=0), work / "data"
    with populace_serve(bench, [], work, VARIABLES) as server, ThreadPoolExecutor(people + 1) as pool:
        load = Load(server.endpoint)
        working = [pool.submit(load.talk, model) for model in server.endpoint.models]
        working.append(pool.submit(load.watch))
        try:
            load.wait_until_all_answered(0.0)
            pid = process_of(data, load.busiest_host())
            killed_at_s = time.time()
            os.kill(pid, signal.SIGKILL)
            load.wait_until_all_up(killed_at_s)
            load.wait_until_all_answered(killed_at_s)
        finally:
            load.end()
        for work_of_one in working:
            work_of_one.result(SECONDS_MAX)
    lines = json_lines(read(data, "logs", "--json"))
    waited = that_waited(load.attempts, lines, killed_at_s)
    return Incident(
        killed_at_s,
        pid,
        tuple(load.attempts),
        tuple(load.looks),
        lines,
        json_lines(read(data, "trace", waited.request_id, "--json")),
        waited,
    )


def show(incident: Incident, data: Path) -> None:
    """Print what an operator sees."""
    killed_at_s = incident.killed_at_s
    print(f"The host with process id {incident.killed_pid} was killed at 0 s.\n\nMetrics, when they changed:")
    before: tuple[Any, ...] | None = None
    for look in incident.looks:
        state = (look.up, look.unserved_share)
        if state != before:
            turns = ", ".join(f"{host} {count:.0f}" for host, count in sorted(look.turns.items()))
            up = ", ".join(f"{host} {value:.0f}" for host, value in sorted(look.up.items()))
            print(
                f"{look.at_s - killed_at_s:8.1f} s  up: {up}; unserved {look.unserved_share}; turns: {turns}"
            )
        before = state
    refused = [attempt for attempt in incident.attempts if attempt.status != 200]
    codes = sorted({str(attempt.code) for attempt in refused})
    waited = incident.waited
    print(
        f"\n{len(incident.attempts)} requests, {len(refused)} of them refused ({', '.join(codes) or 'none'})."
    )
    print(f"The one below was under way at the kill, and took {waited.seconds:.1f} s.")
    print("\npopulace logs --level warning")
    print(read(data, "logs", "--level", "warning"))
    print("populace logs --process host")
    print(read(data, "logs", "--process", "host"))
    print(f"populace logs --request {waited.request_id}")
    print(read(data, "logs", "--request", waited.request_id))
    print(f"populace trace {waited.request_id}")
    print(read(data, "trace", waited.request_id))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--people", type=int, default=6, help="people who talk at once")
    parser.add_argument("--json", type=Path, help="write everything that was seen to this file")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        incident = make_incident(options.people, Path(folder))
        show(incident, Path(folder) / "data")
    found = findings(incident)
    for finding in found:
        print(f"{'seen   ' if finding.is_there else 'MISSING'} {finding.where}: {finding.shows}")
    if options.json is not None:
        seen = {"findings": [finding._asdict() for finding in found], "lines": incident.lines}
        seen |= {"spans": incident.spans, "attempts": [attempt._asdict() for attempt in incident.attempts]}
        seen |= {"looks": [look._asdict() for look in incident.looks], "killed_at_s": incident.killed_at_s}
        options.json.write_text(json.dumps(seen, indent=1))
    return 0 if all(finding.is_there for finding in found) else 1


def _began_s(span: Mapping[str, Any]) -> float:
    return span["began_ns"] / 1e9


def _ended_s(span: Mapping[str, Any]) -> float:
    return span["ended_ns"] / 1e9


if __name__ == "__main__":
    sys.exit(main())
