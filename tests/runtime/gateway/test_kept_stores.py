"""What the stores of earlier releases answered, this one answers of them too, and they go on.

``stores/<release>`` was made by that release, with ``kept_store.py``; one that is named by a day was made by
the sources of that day. Answers may have more in them than then, and nothing may be missing or another.
"""

import json
import shutil
from pathlib import Path
from typing import Any, cast

import pytest

from populace.storage.records import keys
from populace.storage.store import Store
from tests.runtime.gateway.kept_store import ADA, ASKED, TURN, answers
from tests.runtime.gateway.population import Population

STORES = Path(__file__).with_name("stores")


def lacking(then: Any, now: Any, place: str = "") -> list[str]:
    """Name what was answered then and is not now."""
    if isinstance(then, dict) and isinstance(now, dict):
        old, new = cast("dict[str, Any]", then), cast("dict[str, Any]", now)
        return [lack for name in old for lack in lacking(old[name], new.get(name), f"{place}.{name}")]
    if isinstance(then, list) and isinstance(now, list):
        olds, news = cast("list[Any]", then), cast("list[Any]", now)
        if len(olds) == len(news):
            pairs = enumerate(zip(olds, news, strict=True))
            return [lack for at, (one, other) in pairs for lack in lacking(one, other, f"{place}[{at}]")]
    return [] if then == now else [f"{place}: {then!r} is {now!r}"]


@pytest.mark.parametrize("release", sorted(folder.name for folder in STORES.iterdir()))
async def test_a_store_of_an_earlier_release_answers_as_it_did_and_goes_on(
    tmp_path: Path, release: str
) -> None:
    shutil.copytree(STORES / release / "store", tmp_path / "store")
    told = json.loads((STORES / release / "answers.json").read_text(encoding="utf-8"))
    population = Population(tmp_path / "store")
    population.keys["acme"] = told["key"]
    async with population.client() as client:
        found = await answers(client, [*ASKED, *told["answers"].keys() - {*ASKED, "kept-operation"}])
        said = await client.post("/v1/chat/completions", json={"model": "ada", **TURN})
        log = (await client.get(f"{ADA}/interactions")).json()["data"]
    population.close()

    assert lacking(told["answers"], found) == []
    assert said.status_code == 200, said.text
    assert log[-1]["reply"] == said.json()["choices"][0]["message"]["content"]
    store = Store.open(tmp_path / "store")
    kinds: set[int] = set()
    for number in range(store.shards):
        shard = store.open_shard(number, "the test", map_bytes=1 << 26)
        shard.check_integrity()
        with shard.read() as txn:
            kinds |= {key[0] for key, _ in txn.scan(b"")}
        shard.close()
    assert len(kinds) > 15, "it has rows of most kinds"
    assert json.loads((tmp_path / "store/store.json").read_bytes())["schema"] == keys.SCHEMA
