"""Ray loses calls to actors all the time, and still every acknowledged turn is in its log once."""

import concurrent.futures
import importlib
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import ray
from openai import APIError, APIStatusError, OpenAI
from openai.types.chat import ChatCompletionUserMessageParam

from populace.client.connecting import connect
from populace.hosting.messages import NAMESPACE, host_name
from populace.storage.store import Store
from tests.end_to_end.served import serve
from tests.limits import ENGINE_HANG_SECONDS, HANG_SECONDS

_ray: Any = ray  # its API is partly untyped
_ray_worker: Any = importlib.import_module("ray._private.worker")  # only there it tells where it logs

pytestmark = [pytest.mark.engine, pytest.mark.ray, pytest.mark.release("cluster")]

MODELS = 24
"""Each is created by a message of its own; one that ran twice would be told that its model exists."""

MODELS_TALKED_TO = 4
CLIENTS_OF_A_MODEL = 2
TURNS = 3
REPEATABLE = (408, 409, 429, 503, 504)


class Talker:
    """A client of one model that makes its turns one after the other, again until each is acknowledged."""

    def __init__(self, client: OpenAI, model: str, number: int) -> None:
        self._client = client
        self.model = model
        self._number = number
        self.acknowledged: list[tuple[str, str, str]] = []
        self.errors: list[str] = []

    def talk(self) -> None:
        for turn in range(TURNS):
            self._say(f"{self.model}-{self._number}-{turn}", stream=turn % 2 == 1)

    def _say(self, operation: str, *, stream: bool) -> None:
        give_up = time.monotonic() + ENGINE_HANG_SECONDS
        while time.monotonic() < give_up:
            began = time.monotonic()
            try:
                self.acknowledged.append((operation, *self._ask(operation, stream=stream)))
            except APIError as error:
                self.errors.append(f"after {time.monotonic() - began:.1f} s: {error!r}")
                if isinstance(error, APIStatusError) and error.status_code not in REPEATABLE:
                    raise
            else:
                return
        raise AssertionError(f"{operation} was never acknowledged: {self.errors}")

    def _ask(self, operation: str, *, stream: bool) -> tuple[str, str]:
        """Make one attempt; answer the completion's id and its text."""
        messages: list[ChatCompletionUserMessageParam] = [{"role": "user", "content": operation}]
        headers = {"Idempotency-Key": operation}
        create = self._client.chat.completions.create
        if not stream:
            reply = create(model=self.model, messages=messages, max_tokens=8, extra_headers=headers)
            return reply.id, reply.choices[0].message.content or ""
        chunks = list(
            create(model=self.model, messages=messages, max_tokens=8, extra_headers=headers, stream=True)
        )
        assert chunks[-1].choices[0].finish_reason is not None, "a stream without an end raises"
        return chunks[0].id, "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


def test_every_turn_acknowledged_while_ray_loses_messages_is_in_its_log_once(
    tmp_path: Path, base_directory: object
) -> None:
    del base_directory
    with serve(tmp_path, engine="torch", module="tests.cluster.lossy_populace") as served:
        client = served.openai().with_options(max_retries=2, timeout=HANG_SECONDS)
        models = [served.create(f"model-{number}") for number in range(MODELS)]
        talkers = [
            Talker(client, model, number)
            for model in models[:MODELS_TALKED_TO]
            for number in range(CLIENTS_OF_A_MODEL)
        ]
        with concurrent.futures.ThreadPoolExecutor(len(talkers)) as pool:
            list(pool.map(Talker.talk, talkers))
        for model in models:
            check_log(served.log_of(model), [talker for talker in talkers if talker.model == model])
        with connect(data=served.data) as population:
            for number in range(len(population.statistics())):
                host = _ray.get_actor(host_name(number), namespace=NAMESPACE)
                _ray.get(host.check_integrity.remote())
            assert messages_lost() > 0

    store = Store.open(served.data)
    for number in range(store.shards):
        with closing(store.open_shard(number, "the test")) as shard:
            shard.check_integrity()


def check_log(log: list[dict[str, Any]], talkers: list[Talker]) -> None:
    """Check that the log holds each acknowledged turn once, in its client's order, and no other turn."""
    told = [(turn["operation"].removeprefix("key-"), turn["completion_id"], turn["reply"]) for turn in log]
    assert [turn["position"] for turn in log] == list(range(len(talkers) * TURNS))
    for talker in talkers:
        names = {operation for operation, _, _ in talker.acknowledged}
        assert [turn for turn in told if turn[0] in names] == talker.acknowledged


def messages_lost() -> int:
    """Count what Ray lost on purpose, from its log: without that this test shows nothing."""
    logs = Path(_ray_worker._global_node.get_logs_dir_path())
    return sum(log.read_text().count("Inject RPC") for log in logs.glob("python-core-worker-*.log"))
