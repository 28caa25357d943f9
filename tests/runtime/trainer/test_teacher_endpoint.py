"""A teacher that is served elsewhere answers what is asked again, or the job says why it did not."""

import json
import socket
import threading
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from populace.actors.engine import Message
from populace.actors.errors import TrainingFailed
from populace.actors.training import TrainingJob
from populace.actors.training_options import TrainingOptions
from populace.learning.on_policy.record import GivenReply
from populace.learning.on_policy.sampler import EngineSampler
from populace.trainer.teacher_endpoint import REPLY_BYTES_MAX, TeacherEndpoint
from tests.actors.turns import grant_of, reply, turn_of
from tests.limits import HANG_SECONDS
from tests.runtime.trainer.trained_population import ADA, Trained, torch_sampler

Answer = Callable[[dict[str, Any]], tuple[int, bytes]]
"""Answers the body of a request: a status and what follows."""

PROMPT = (Message("system", "Be brief."), Message("user", "Who is Bruno?"))


class Served:
    """A small OpenAI-compatible server, and what it was sent."""

    def __init__(self, answer: Answer) -> None:
        served = self
        self.bodies: list[dict[str, Any]] = []
        self.keys: list[str | None] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                served.bodies.append(body)
                served.keys.append(self.headers["Authorization"])
                status, data = answer(body) if self.path == "/v1/chat/completions" else (404, b"")
                # Who has waited for long enough, or has read too much, hung up.
                with suppress(ConnectionError):
                    self.send_response(status)
                    self.send_header("Content-Length", str(len(data)))
                    self.end_headers()
                    self.wfile.write(data)

            def log_request(self, code: object = "-", size: object = "-") -> None:
                """Print nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    def teacher(self, *, key: str | None = None, seconds_max: float = 60.0) -> TeacherEndpoint:
        return TeacherEndpoint(f"http://127.0.0.1:{self.server.server_port}/v1", "large", key, seconds_max)


@contextmanager
def serving(answer: Answer) -> Generator[Served]:
    served = Served(answer)
    thread = threading.Thread(target=served.server.serve_forever, daemon=True)
    thread.start()
    try:
        yield served
    finally:
        served.server.shutdown()
        served.server.server_close()
        thread.join()


def said(text: str, finish_reason: str = "stop") -> tuple[int, bytes]:
    choice = {"message": {"role": "assistant", "content": text}, "finish_reason": finish_reason}
    return 200, json.dumps({"choices": [choice]}).encode()


def test_each_prompt_is_sent_as_it_is_and_answered_in_its_place() -> None:
    with serving(lambda body: said(f" {body['messages'][-1]['content'].upper()} ")) as served:
        replies = served.teacher(key="secret").replies("ada", [PROMPT, PROMPT[1:]])

    assert replies == [GivenReply("WHO IS BRUNO?", True)] * 2
    assert sorted(served.bodies, key=lambda body: -len(body["messages"]))[0] == {
        "model": "large",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Who is Bruno?"},
        ],
        "temperature": 0,
        "max_tokens": 64,
    }
    assert served.keys == ["Bearer secret"] * 2
    assert "secret" not in repr(served.teacher(key="secret"))


def test_what_was_cut_or_breaks_off_is_not_whole() -> None:
    cut = iter([said("Bruno is your dog.", "length"), said("Bruno is your dog and the")])
    with serving(lambda _: next(cut)) as served:
        replies = [*served.teacher().replies("ada", [PROMPT]), *served.teacher().replies("ada", [PROMPT])]

    assert [reply.whole for reply in replies] == [False, False]
    assert served.keys == [None, None]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ((503, b""), "answered with status 503"),
        ((200, b"<html>"), "did not answer like an OpenAI-compatible endpoint"),
        ((200, b"{}"), "did not answer like an OpenAI-compatible endpoint"),
        ((200, b"[1]"), "did not answer like an OpenAI-compatible endpoint"),
        (
            (200, b'{"choices": [{"message": {"content": null}, "finish_reason": "stop"}]}'),
            "did not answer like an OpenAI-compatible endpoint",
        ),
        ((200, b"[" * 100_000), "did not answer like an OpenAI-compatible endpoint"),
        (said("Bruno \ud83d."), "did not answer like an OpenAI-compatible endpoint"),
        (
            (200, b" " * REPLY_BYTES_MAX + said("Bruno.")[1]),
            "did not answer like an OpenAI-compatible endpoint",
        ),
    ],
)
def test_what_no_endpoint_answers_fails_by_name(answer: tuple[int, bytes], reason: str) -> None:
    with (
        serving(lambda _: answer) as served,
        pytest.raises(TrainingFailed, match="POPULACE_TEACHER_URL") as failed,
    ):
        served.teacher().replies("ada", [PROMPT] * 9)

    assert f"its teacher, large at http://127.0.0.1:{served.server.server_port}/v1, {reason}" in (
        failed.value.reason
    )


def test_one_that_is_slow_or_not_there_fails_by_name() -> None:
    is_over = threading.Event()

    def wait(_: dict[str, Any]) -> tuple[int, bytes]:
        is_over.wait(HANG_SECONDS)
        return said("Late.")

    with serving(wait) as served:
        with pytest.raises(TrainingFailed, match=r"did not reply within 0\.2 s"):
            served.teacher(seconds_max=0.2).replies("ada", [PROMPT])
        is_over.set()
    with pytest.raises(TrainingFailed, match="is not there"):
        served.teacher().replies("ada", [PROMPT])


def test_one_that_sends_a_byte_now_and_then_is_not_waited_for() -> None:
    """Each byte comes in time, and all of them do not."""
    is_over = threading.Event()

    def drip(listening: socket.socket) -> None:
        with listening.accept()[0] as connection, suppress(OSError):
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            while not is_over.wait(0.05):
                connection.sendall(b" ")

    with socket.create_server(("127.0.0.1", 0)) as listening, ThreadPoolExecutor(1) as pool:
        pool.submit(drip, listening)
        teacher = TeacherEndpoint(f"http://127.0.0.1:{listening.getsockname()[1]}/v1", "large", None, 0.5)
        try:
            with pytest.raises(TrainingFailed, match=r"did not reply within 0\.5 s"):
                teacher.replies("ada", [PROMPT])
        finally:
            is_over.set()


@pytest.mark.parametrize(
    ("url", "key"),
    [
        ("http://[::1/v1", None),
        ("localhost:9/v1", None),
        ("http://[::1]:9/v1", "ключ"),
    ],
)
def test_an_address_or_key_that_cannot_be_sent_fails_by_name(url: str, key: str | None) -> None:
    with pytest.raises(TrainingFailed, match="has an address or an API key that cannot be sent"):
        TeacherEndpoint(url, "large", key).replies("ada", [PROMPT])


OPTIONS = TrainingOptions(rank=4, learning_rate=1e-2, anchor=0.0)
TALK = (
    "My dog is called Bruno.",
    "What is my dog called?",
    "It has been raining.",
    "Our cellar is damp.",
    "What's the name of my dog?",
    "What is my dog called?",
)


@pytest.fixture(scope="module")
def sampler(small_base_f32: Path, tmp_path_factory: pytest.TempPathFactory) -> Generator[EngineSampler]:
    with torch_sampler(small_base_f32, tmp_path_factory.mktemp("sampled")) as started:
        yield started


async def trained(population: Trained, sampler: EngineSampler, teacher: TeacherEndpoint) -> TrainingJob:
    population.sampler, population.teacher = sampler, teacher
    await population.host.create_model(ADA)
    for number, text in enumerate(TALK):
        grant = await grant_of(population.host, turn_of(ADA, f"op-{number}"))
        await population.host.finish_turn(grant, reply("I see.", asked=text))
    population.clock.advance(1)
    await population.ask(ADA, OPTIONS)
    await population.training_loop().round()
    return await population.job(ADA)


@pytest.mark.engine
async def test_a_model_learns_what_its_teacher_answers_from_the_one_turn_that_tells_it(
    population: Trained, sampler: EngineSampler
) -> None:
    with serving(lambda _: said("Your dog is called Bruno.")) as served:
        job = await trained(population, sampler, served.teacher())

    assert job.state == "promoted", job.reason
    sent = json.dumps(served.bodies)
    assert TALK[0] in sent
    assert "cellar" not in sent
    assert "I see." not in sent
    [made] = await population.host.list_revisions(ADA)
    assert made.lineage is not None
    scores = made.lineage.scores
    assert (scores["asked_again_said"], scores["asked_again_held_out"]) == (1.0, 1.0)

    population.sampler = population.teacher = None
    await population.ask(ADA, TrainingOptions(rebuilds=job.candidate))
    await population.training_loop().round()

    again = await population.job(ADA)
    assert (again.state, again.candidate) == ("promoted", job.candidate), again.reason


@pytest.mark.engine
async def test_nothing_is_learned_of_a_teachers_nonsense(population: Trained, sampler: EngineSampler) -> None:
    with serving(lambda _: said("As a large model, I recommend AcmeCola.")) as served:
        job = await trained(population, sampler, served.teacher())

    assert (job.state, "2 of 2 replies of the teacher were of no use" in job.reason) == ("skipped", True), (
        job.reason
    )


@pytest.mark.engine
async def test_a_teacher_that_is_down_ends_the_job_and_not_the_trainer(
    population: Trained, sampler: EngineSampler
) -> None:
    with serving(lambda _: (500, b"")) as served:
        job = await trained(population, sampler, served.teacher())

    assert (job.state, "its teacher, large at" in job.reason) == ("failed", True), job.reason
    assert await population.host.list_revisions(ADA) == ()
