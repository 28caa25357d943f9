"""What the documents show in Python runs as it stands there, over a socket, with an engine that is scripted.

``tests/end_to_end/test_documents.py`` has those that need a memory or a training.
"""

import ast
import asyncio
import inspect
from typing import Any

import openai
import pytest

import populace
from tests.documents import WHOLE, blocks_of, documents
from tests.runtime.gateway.population import Population

CALL = '[{"name": "weather", "arguments": {"city": "Paris"}}]'
REPLIES = {
    "docs/population.md": "Rome",
    "docs/response-format.md": '{"name": "Ada", "age": 36}',
    "docs/responses.md": CALL,
    "docs/tools.md": CALL,
}
"""What the model says, where the document goes on with it."""

TURNS = {
    "docs/population.md": 0,
    "docs/python.md": 4,
    "docs/response-format.md": 3,
    "docs/responses.md": 6,
    "docs/retrieval.md": 6,
    "docs/tools.md": 4,
}
"""How many turns the reader's own model has at the end."""


@pytest.mark.parametrize("document", [one for one in documents() if one not in WHOLE])
async def test_what_a_document_shows_in_python_runs(
    population: Population, url: str, monkeypatch: pytest.MonkeyPatch, document: str
) -> None:
    key, connect = population.keys["acme"], populace.connect
    if document in REPLIES:
        population.engine.reply = (REPLIES[document],)

    # The reader's own Populace is this one.
    def own(at: str = url, *, api_key: str = key) -> populace.Population:
        return connect(at, api_key=api_key)

    monkeypatch.setattr(populace, "connect", own)

    await asyncio.to_thread(read, blocks_of(document, url, key), url, key)

    assert len(await population.log("ada")) == TURNS[document]


def read(blocks: list[str], url: str, key: str) -> None:
    """Run one block after the other, each with an open population, as one does who goes on reading."""
    with populace.connect() as population, openai.OpenAI(base_url=f"{url}/v1", api_key=key) as client:
        for name in ("ben", "cyd"):
            population.create(name).share("votes")
        names: dict[str, Any] = {"client": client, "population": population}
        for block in blocks:
            with populace.connect() as names["population"]:
                names["ada"] = names["population"].model("ada")
                code = compile(block, "document", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
                made = eval(code, names)
                if inspect.iscoroutine(made):
                    asyncio.run(made)
        for one in names.values():
            if isinstance(one, openai.OpenAI):
                one.close()
