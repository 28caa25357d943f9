"""Conversations with a person: their items are turns of the log, and nothing is kept beside it."""

from collections.abc import AsyncGenerator
from typing import Any

import httpx
import pytest
from openai import AsyncOpenAI, NotFoundError
from openai.types.conversations import Conversation, ConversationDeletedResource, ConversationItemList
from openai.types.conversations.message import Message as ConversationMessage

from populace.actors.engine import Message
from populace.learning.examples import examples_of
from tests.limits import HANG_SECONDS
from tests.runtime.gateway.population import Population

PATH = "/v1/conversations"
RESPONSES = "/v1/responses"


@pytest.fixture
async def ada(population: Population, url: str) -> AsyncGenerator[AsyncOpenAI, None]:
    async with AsyncOpenAI(
        api_key=population.keys["acme"], base_url=f"{url}/v1", max_retries=0, timeout=HANG_SECONDS
    ) as client:
        yield client


async def create(client: httpx.AsyncClient, **body: Any) -> dict[str, Any]:
    reply = await client.post(PATH, json=body)
    assert reply.status_code == 200, reply.text
    Conversation.model_validate(reply.json())
    return reply.json()


async def say(client: httpx.AsyncClient, text: str, conversation: str, model: str = "ada") -> dict[str, Any]:
    body = {"model": model, "input": text, "conversation": conversation}
    reply = await client.post(RESPONSES, json=body)
    assert reply.status_code == 200, reply.text
    return reply.json()


async def items_of(client: httpx.AsyncClient, conversation: str, **options: Any) -> ConversationItemList:
    reply = await client.get(f"{PATH}/{conversation}/items", params={"order": "asc", **options})
    assert reply.status_code == 200, reply.text
    return ConversationItemList.model_validate(reply.json())


def texts(items: ConversationItemList) -> list[str]:
    return [part.text for item in items.data for part in item.content]  # pyright: ignore


async def test_the_official_client_converses(ada: AsyncOpenAI, population: Population) -> None:
    conversation = await ada.conversations.create(metadata={"topic": "dogs"})
    await ada.responses.create(model="ada", input="one", conversation=conversation.id)
    await ada.responses.create(model="ada", input="aside")
    await ada.responses.create(model="ada", input="two", conversation={"id": conversation.id})

    items = await ada.conversations.items.list(conversation.id, order="asc")
    second = await ada.conversations.items.retrieve(str(items.data[1].id), conversation_id=conversation.id)
    changed = await ada.conversations.update(conversation.id, metadata={"topic": "cats"})
    shown = await ada.conversations.retrieve(conversation.id)
    await ada.conversations.items.delete(str(items.data[0].id), conversation_id=conversation.id)
    left = await ada.conversations.items.list(conversation.id)
    await ada.conversations.delete(conversation.id)

    assert texts(items) == ["one", "reply 1 to you", "two", "reply 3 to you"]  # pyright: ignore
    assert second == items.data[1]
    assert [said.content for said in population.engine.requests[-1].prompt if isinstance(said, Message)] == [
        "one",
        "reply 1 to you",
        "two",
    ]
    assert (conversation.metadata, changed.metadata) == ({"topic": "dogs"}, {"topic": "cats"})
    assert shown == changed
    assert texts(left) == ["reply 3 to you", "two"]  # pyright: ignore
    with pytest.raises(NotFoundError):
        await ada.conversations.retrieve(conversation.id)


async def test_a_conversation_goes_on_in_a_copy_of_its_person(
    client: httpx.AsyncClient, population: Population
) -> None:
    conversation = (await create(client, metadata={"topic": "dogs"}))["id"]
    await say(client, "one", conversation)
    await say(client, "two", conversation, model="ada@latest")
    await client.post(f"{PATH}/{conversation}", json={"metadata": {"topic": "cats"}})
    archive = (await client.get("/v1/personal-models/ada/export")).content
    await client.post("/v1/personal-models/import", params={"name": "eve"}, content=archive)
    copy = conversation.replace("conv_ada_", "conv_eve_")

    shown = await client.get(f"{PATH}/{copy}")
    body = {"model": "eve", "input": "three", "conversation": copy}
    made = (await client.post(RESPONSES, json=body)).json()

    assert shown.json()["metadata"] == {"topic": "cats"}
    assert [said.content for said in population.engine.requests[-1].prompt if isinstance(said, Message)] == [
        *("one", "reply 1 to you", "two", "reply 2 to you", "three")
    ]
    assert len((await items_of(client, copy)).data) == 6
    assert len((await items_of(client, conversation)).data) == 4
    assert made["conversation"] == {"id": copy}
    [eve, *_] = [turn for turn in await population.log("eve") if turn.reply == "reply 2 to you"]
    of_copy = await client.get(f"{RESPONSES}/resp_eve_{eve.position:x}_{eve.completion_id[-16:]}")
    assert of_copy.json()["conversation"] == {"id": copy}
    assert of_copy.json()["model"] == "eve@latest"
    await client.delete(f"{PATH}/{copy}")
    assert (await client.get(f"{PATH}/{copy}")).status_code == 404
    assert (await client.get(f"{PATH}/{conversation}")).status_code == 200


async def test_a_conversation_whose_items_are_refused_is_not_created(
    client: httpx.AsyncClient, population: Population
) -> None:
    refused = await client.post(PATH, json={"items": [{"role": "user", "content": " "}]})

    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "items")
    assert await population.log("ada") == ()


async def test_items_are_listed_in_parts_and_are_openais(client: httpx.AsyncClient) -> None:
    conversation = (await create(client))["id"]
    for text in ("one", "two"):
        await say(client, text, conversation)

    first = await items_of(client, conversation, limit=3)
    rest = await items_of(client, conversation, limit=3, after=first.last_id)

    assert (texts(first), first.has_more) == (["one", "reply 1 to you", "two"], True)
    assert (texts(rest), rest.has_more) == (["reply 2 to you"], False)
    for item in first.data:
        shown = await client.get(f"{PATH}/{conversation}/items/{item.id}")
        assert ConversationMessage.model_validate(shown.json()).role == item.role  # pyright: ignore
    assert (await items_of(client, (await create(client))["id"])).data == []


async def test_a_conversation_survives_a_restart_and_ends_with_its_person(
    client: httpx.AsyncClient, population: Population
) -> None:
    made = await create(client, metadata={"a": "b"})
    await say(client, "one", made["id"])
    population.restart()

    async with population.client() as later:
        assert (await later.get(f"{PATH}/{made['id']}")).json() == made
        assert texts(await items_of(later, made["id"])) == ["one", "reply 1 to you"]
        await later.delete("/v1/personal-models/ada")
        await population.create("ada")
        assert (await later.get(f"{PATH}/{made['id']}")).status_code == 404


async def test_deleting_a_conversation_leaves_its_turns(
    client: httpx.AsyncClient, population: Population
) -> None:
    conversation = (await create(client))["id"]
    made = await say(client, "one", conversation)

    gone = await client.delete(f"{PATH}/{conversation}")

    assert ConversationDeletedResource.model_validate(gone.json()).deleted
    assert (await client.get(f"{RESPONSES}/{made['id']}")).json()["output"] == made["output"]
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/items"), ("GET", f"/items/{made['id']}")):
        reply = await client.request(method, f"{PATH}/{conversation}{path}")
        assert (reply.status_code, reply.json()["error"]["code"]) == (404, "conversation_not_found")


async def test_nobody_speaks_in_what_is_kept_of_a_conversation(
    client: httpx.AsyncClient, population: Population
) -> None:
    await create(client, metadata={"secret": "swordfish"})
    found = await client.post("/v1/personal-models/ada/forget", json={"query": "swordfish"})
    refused = await client.post("/v1/personal-models/ada/forget", json={"position": 0})
    followed = await client.get(
        f"{RESPONSES}/resp_ada_0_{(await population.log('ada'))[0].completion_id[-16:]}"
    )

    assert found.json()["found"] == []
    assert refused.status_code == 400
    assert followed.status_code == 404
    assert population.engine.requests == []


async def test_a_conversation_is_with_one_person_of_one_tenant(
    client: httpx.AsyncClient, population: Population
) -> None:
    alone = await create(client)
    await population.create("bob")
    await population.create("ada", "globex")

    ambiguous = await client.post(PATH, json={})
    named = [await create(client, model="bob"), await create(client, metadata={"model": "bob"})]
    unknown = await client.post(PATH, json={"model": "nobody"})
    crossed = await client.post(
        RESPONSES, json={"model": "ada", "input": "hi", "conversation": named[0]["id"]}
    )

    assert alone["id"].startswith("conv_ada_")
    assert (ambiguous.status_code, ambiguous.json()["error"]["param"]) == (400, "model")
    assert all(one["id"].startswith("conv_bob_") for one in named)
    assert unknown.status_code == 404
    assert (crossed.status_code, crossed.json()["error"]["param"]) == (400, "conversation")
    async with population.client("globex") as other:
        assert (await other.get(f"{PATH}/{alone['id']}")).status_code == 404
        entered = await other.post(
            RESPONSES, json={"model": "ada", "input": "hi", "conversation": alone["id"]}
        )
        assert entered.status_code == 404


async def test_what_a_conversation_cannot_do_is_refused_by_name(
    client: httpx.AsyncClient, population: Population
) -> None:
    conversation = (await create(client, items=[]))["id"]
    await client.post(f"{PATH}/{conversation}", json={"metadata": {"a": "b"}})
    item = {"type": "message", "role": "user", "content": "hi"}
    result = {"type": "function_call_output", "call_id": "x", "output": "1"}
    update = (await population.log("ada"))[1]
    refused: list[tuple[str, Any, int, str | None]] = [
        (PATH, {"items": [item] * 21}, 400, "items"),
        (PATH, {"items": [result]}, 400, "items[0].call_id"),
        (f"{PATH}/{conversation}/items", {"items": [item] * 21}, 400, "items"),
        (f"{PATH}/{conversation}/items", {"items": [item, result]}, 400, "items[1].call_id"),
        (f"{PATH}/{conversation}/items", {"items": [{**item, "content": ""}]}, 400, "items"),
        (f"{PATH}/{conversation}/items", {"items": [{"type": "reasoning"}]}, 400, "items[0]"),
        (f"{PATH}/{conversation}/items", {}, 400, "items"),
        (f"{PATH}/conv_x/items", {"items": [item]}, 404, None),
        (f"{PATH}/{conversation}", {}, 400, "metadata"),
        (f"{PATH}/{conversation}", {"metadata": {"a": ["b"]}}, 400, "metadata.a"),
        (PATH, {"colour": "red"}, 400, "colour"),
        (f"{PATH}/conv_x", {"metadata": {}}, 404, None),
        (f"{PATH}/conv_ada_1_{update.completion_id[-16:]}", {"metadata": {}}, 404, None),
    ]
    for path, body, status, parameter in refused:
        reply = await client.post(path, json=body)
        assert (reply.status_code, reply.json()["error"]["param"]) == (status, parameter), path
    assert len(await population.log("ada")) == 2
    unknown = await client.get(f"{PATH}/{conversation}/items/msg_x")
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "interaction_not_found")


ADDED: list[Any] = [
    {"role": "developer", "content": "Be kind."},
    {"role": "user", "content": "weather?"},
    {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": "{}"},
    {"type": "function_call_output", "call_id": "c1", "output": "sunny"},
    {"role": "assistant", "content": "It is sunny."},
]
CALL_TEXT = '[{"name": "weather", "arguments": {}}]'


async def test_items_that_are_added_are_listed_and_read_by_the_turns_after_them(
    ada: AsyncOpenAI, population: Population
) -> None:
    conversation = await ada.conversations.create(items=ADDED[:2])
    added = await ada.conversations.items.create(conversation.id, items=ADDED[2:])
    await ada.responses.create(model="ada", input="aside")
    await ada.responses.create(model="ada", input="one", conversation=conversation.id)
    await ada.conversations.items.create(
        conversation.id, items=[{"role": "user", "content": "And remember this."}]
    )
    await ada.responses.create(model="ada", input="two", conversation=conversation.id)

    read = [(said.role, said.content) for said in population.engine.requests[-1].prompt]  # pyright: ignore
    assert read == [
        ("system", "Be kind."),
        ("user", "weather?"),
        ("assistant", CALL_TEXT),
        ("tool", "sunny"),
        ("assistant", "It is sunny."),
        ("user", "one"),
        ("assistant", "reply 2 to you"),
        ("user", "And remember this."),
        ("user", "two"),
    ]
    items = [item async for item in ada.conversations.items.list(conversation.id, order="asc", limit=3)]
    kinds = ["message"] * 2 + ["function_call", "function_call_output"] + ["message"] * 6
    assert [item.type for item in items] == kinds
    assert items[2:5] == added.data
    assert [item.call_id for item in added.data[:2]] == ["c1", "c1"]  # pyright: ignore
    one = await ada.conversations.items.retrieve(str(items[3].id), conversation_id=conversation.id)
    assert one == items[3]


async def test_what_was_added_by_hand_is_no_turn_and_teaches_nothing(
    client: httpx.AsyncClient, population: Population
) -> None:
    made = await create(client, items=[{"role": "user", "content": "My password is swordfish."}])
    added = (await population.log("ada"))[1]
    named = f"resp_ada_1_{added.completion_id[-16:]}"

    assert (await client.get(f"{RESPONSES}/{named}")).status_code == 404
    assert examples_of(await population.log("ada"), ()) == []
    asked = {"model": "ada", "input": "password?", "context": {"retrieve": 3}}
    await client.post(RESPONSES, json=asked)
    assert [said.content for said in population.engine.requests[-1].prompt] == ["password?"]  # pyright: ignore
    assert (added.memory, added.conversation) == (None, made["id"])


async def test_what_was_added_is_forgotten_by_its_item_and_by_its_words(
    ada: AsyncOpenAI, client: httpx.AsyncClient, population: Population
) -> None:
    conversation = (await create(client))["id"]
    for secret in ("one swordfish", "two passwords"):
        said: Any = [{"role": "user", "content": secret}, {"role": "assistant", "content": "Noted."}]
        await ada.conversations.items.create(conversation, items=said)
    await say(client, "hello", conversation)
    items = await ada.conversations.items.list(conversation, order="asc")

    await ada.conversations.items.delete(str(items.data[1].id), conversation_id=conversation)
    found = await client.post("/v1/personal-models/ada/forget", json={"query": "two passwords"})
    assert [turn["position"] for turn in found.json()["found"]] == [2]
    forgotten = await client.post("/v1/personal-models/ada/forget", json={"position": 2})

    assert forgotten.json()["shown"] == [3]
    assert texts(await items_of(client, conversation)) == ["hello", "reply 1 to you"]
    assert "swordfish" not in repr(await population.log("ada"))
    assert "password" not in repr(await population.log("ada"))
    await say(client, "and?", conversation)
    prompt = [said.content for said in population.engine.requests[-1].prompt]  # pyright: ignore
    assert prompt == ["hello", "reply 1 to you", "and?"]


async def test_a_result_answers_a_call_that_was_added(
    ada: AsyncOpenAI, client: httpx.AsyncClient, population: Population
) -> None:
    conversation = (await create(client, items=ADDED[1:3]))["id"]
    await ada.responses.create(model="ada", input=[ADDED[3]], conversation=conversation)

    read = [(said.role, said.content) for said in population.engine.requests[-1].prompt]  # pyright: ignore
    assert read == [("user", "weather?"), ("assistant", CALL_TEXT), ("tool", "sunny")]


async def test_adding_items_again_with_their_key_adds_them_once(
    client: httpx.AsyncClient, population: Population
) -> None:
    headers = {"Idempotency-Key": "once"}
    body = {"items": ADDED[:2]}
    created = [(await client.post(PATH, json=body, headers=headers)).json() for _ in range(2)]
    path = f"{PATH}/{created[0]['id']}/items"
    again = [(await client.post(path, json=body, headers={"Idempotency-Key": "k"})).json() for _ in range(2)]

    assert created[0] == created[1]
    assert again[0] == again[1]
    assert len(await population.log("ada")) == 3


async def test_creating_a_conversation_again_with_its_key_returns_the_first(
    client: httpx.AsyncClient, population: Population
) -> None:
    made = [
        (await client.post(PATH, json={"metadata": {"a": "b"}}, headers={"Idempotency-Key": "once"})).json()
        for _ in range(2)
    ]

    assert made[0] == made[1]
    assert len(await population.log("ada")) == 1
