"""What vLLM's server takes is taken with the same meaning, accepted as a hint, or refused by name."""

import ast
import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from pydantic import BaseModel

from populace.actors.engine import RepetitionDetection, Sampling
from populace.gateway.completions.embeddings import EmbeddingsBody
from populace.gateway.completions.parameters import Hint, Refused
from populace.gateway.completions.schema import ChatBody
from populace.gateway.completions.text_schema import CompletionBody
from populace.gateway.responses.schema import ResponseBody
from tests.house.source_tree import ROOT
from tests.runtime.gateway.population import Population, chat_body
from tests.runtime.gateway.test_answers import events_of

CHAT, TEXT, RESPONSE = "/v1/chat/completions", "/v1/completions", "/v1/responses"
BODIES: dict[str, type[BaseModel]] = {
    "chat": ChatBody,
    "text": CompletionBody,
    "response": ResponseBody,
    "embedding": EmbeddingsBody,
}
REQUESTS = {
    "chat": ("ChatCompletionRequest", "openai/chat_completion"),
    "text": ("CompletionRequest", "openai/completion"),
    "response": ("ResponsesRequest", "openai/responses"),
    "embedding": ("EmbeddingCompletionRequest", "pooling/embed", "pooling/base"),
}
"""vLLM's models of the requests, and where they and their bases are."""

DOCUMENT = ROOT / "docs" / "http.md"
BEGIN, END = "<!-- parameters -->\n", "<!-- /parameters -->\n"
NOTHING: dict[str, Any] = {}
OUR_OWN = {
    "memory",
    "context",
    "conversation",
    "instructions_first",
    "keep",
    "peek",
    "population",
    "turn_seconds_max",
}


def fields_of_vllm(kind: str) -> set[str]:
    """Read the fields of a request model from its source: importing vLLM takes seconds and a platform."""
    found = importlib.util.find_spec("vllm")
    if found is None or found.origin is None:
        pytest.skip("vLLM is not installed: this Populace has the torch engine alone")
    entrypoints = Path(found.origin).parent / "entrypoints"
    model, *places = REQUESTS[kind]
    nodes = [
        node
        for place in places
        for node in ast.parse((entrypoints / place / "protocol.py").read_text()).body
        if isinstance(node, ast.ClassDef)
    ]
    return _fields({node.name: node for node in nodes}, model)


def _fields(models: dict[str, ast.ClassDef], name: str) -> set[str]:
    """Return the fields of a model and of its bases, as far as these are among the ``models``."""
    if name not in models:
        return set()
    own = {
        node.target.id
        for node in models[name].body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }
    bases = [base.id for base in models[name].bases if isinstance(base, ast.Name)]
    return {one for one in own if not one.startswith("_")}.union(*(_fields(models, base) for base in bases))


def decision(body: type[BaseModel], name: str) -> tuple[str, str]:
    """Return what becomes of a parameter, and why if nothing does."""
    if name not in body.model_fields:
        return "–", ""
    for mark in body.model_fields[name].metadata:
        if isinstance(mark, Hint):
            return "no effect", mark.reason
        if isinstance(mark, Refused):
            return "refused", mark.reason
    return "yes", ""


def table() -> str:
    """Write the decisions as they are documented."""
    names = sorted({name for body in BODIES.values() for name in body.model_fields} - OUR_OWN)
    lines = [f"| parameter | {' | '.join(BODIES)} | why not |", f"|{'---|' * (len(BODIES) + 2)}"]
    for name in names:
        made = [decision(body, name) for body in BODIES.values()]
        reason = "; ".join(dict.fromkeys(why for _, why in made if why))
        lines.append(f"| `{name}` | {' | '.join(what for what, _ in made)} | {reason} |")
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("kind", BODIES)
def test_every_parameter_of_vllms_server_is_decided_on(kind: str) -> None:
    fields = fields_of_vllm(kind)

    assert {"messages", "prompt", "input"} & fields, "the request model was found"
    assert fields - BODIES[kind].model_fields.keys() == set()


def test_the_documented_decisions_are_those_that_are_made() -> None:
    before, _, rest = DOCUMENT.read_text().partition(BEGIN)
    documented, _, after = rest.partition(END)

    if documented != table():
        DOCUMENT.write_text(before + BEGIN + table() + END + after)
        pytest.fail("docs/http.md was stale; this test has written its table anew")


async def test_sampling_parameters_reach_the_engine(
    client: httpx.AsyncClient, population: Population
) -> None:
    sent: dict[str, Any] = {
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": -1,
        "min_p": 0.1,
        "repetition_penalty": 1.2,
        "own_words_penalty": 1.3,
        "logit_bias": {"7": 100, "8": -1.5},
        "allowed_token_ids": [7, 8],
        "bad_words": ["no"],
        "stop": "end",
        "stop_token_ids": [9],
        "include_stop_str_in_output": True,
        "skip_special_tokens": False,
        "min_tokens": 2,
        "max_tokens": 5,
        "seed": 3,
        "ignore_eos": True,
        "prompt_logprobs": 1,
        "repetition_detection": {"max_pattern_size": 64, "min_count": 4},
    }
    expected = Sampling(
        max_tokens=5,
        temperature=0.5,
        top_p=0.9,
        top_k=0,
        seed=3,
        stop=("end",),
        ignore_eos=True,
        repetition_penalty=1.2,
        own_words_penalty=1.3,
        min_p=0.1,
        logit_bias=((7, 100.0), (8, -1.5)),
        allowed_token_ids=(7, 8),
        bad_words=("no",),
        stop_token_ids=(9,),
        min_tokens=2,
        include_stop=True,
        skip_special_tokens=False,
        prompt_logprobs=1,
        repetition_detection=RepetitionDetection(64, 4),
    )

    replies = [
        await client.post(CHAT, json=chat_body(**sent)),
        await client.post(TEXT, json={"model": "base", "prompt": "once", **sent}),
    ]
    del sent["prompt_logprobs"]
    sent["max_output_tokens"] = sent.pop("max_tokens")
    replies.append(await client.post(RESPONSE, json={"model": "ada", "input": "hi", **sent}))

    assert [reply.status_code for reply in replies] == [200, 200, 200]
    sampled = [request.sampling for request in population.engine.requests]
    assert sampled == [expected, expected, replace(expected, prompt_logprobs=None)]


async def test_an_explicit_null_is_the_default(client: httpx.AsyncClient, population: Population) -> None:
    nulls: dict[str, Any] = dict.fromkeys(
        ("min_p", "repetition_penalty", "logit_bias", "stop_token_ids", "min_tokens", "bad_words", "store")
    )

    replies = [await client.post(CHAT, json=chat_body(**more)) for more in (NOTHING, nulls)]

    assert "warnings" not in replies[1].json()
    first, second = population.engine.requests
    assert first.sampling == second.sampling


HINTS: dict[str, Any] = {
    "store": True,
    "service_tier": "auto",
    "reasoning_effort": "low",
    "prompt_cache_key": "k",
    "safety_identifier": "s",
    "verbosity": "low",
    "metadata": {"a": "b"},
    "user": "u",
}


async def test_hints_are_accepted_and_named(client: httpx.AsyncClient) -> None:
    whole = await client.post(CHAT, json=chat_body(**HINTS))
    options = {"include_obfuscation": True}
    streamed = await client.post(CHAT, json=chat_body(stream=True, stream_options=options, **HINTS))

    last = events_of(streamed)[-1]
    named = (HINTS.keys(), HINTS.keys() | {"stream_options.include_obfuscation"})
    for warnings, names in zip((whole.json()["warnings"], last["warnings"]), named, strict=True):
        assert {warning["param"] for warning in cast("list[dict[str, str]]", warnings)} == names
    assert "changes nothing" in whole.json()["warnings"][0]["message"]


BODY_OF: dict[str, dict[str, Any]] = {
    CHAT: chat_body(),
    TEXT: {"model": "ada", "prompt": "once"},
    RESPONSE: {"model": "ada", "input": "once"},
}


@pytest.mark.parametrize(
    ("path", "name", "value", "neutral"),
    [
        (CHAT, "functions", [{"name": "a"}], []),
        (CHAT, "continue_final_message", True, False),
        (CHAT, "use_beam_search", True, False),
        (CHAT, "priority", 1, 0),
        (CHAT, "priority", False, 0),
        (TEXT, "suffix", " the end.", ""),
        (TEXT, "best_of", 3, 1),
        (TEXT, "add_special_tokens", False, True),
        (RESPONSE, "priority", 1, 0),
        (RESPONSE, "enable_response_messages", True, False),
    ],
)
async def test_what_would_silently_be_missing_is_refused_unless_it_asks_for_nothing(
    client: httpx.AsyncClient, population: Population, path: str, name: str, value: object, neutral: object
) -> None:
    body = BODY_OF[path]

    refused = await client.post(path, json={**body, name: value})
    accepted = await client.post(path, json={**body, name: neutral})

    error = refused.json()["error"]
    assert (refused.status_code, error["param"], error["code"]) == (400, name, "invalid_request")
    assert (accepted.status_code, accepted.json().get("warnings", [])) == (200, [])
    assert len(population.engine.requests) == 1


async def test_variables_of_the_template_keep_a_turn_out_of_the_memory_and_not_out_of_the_log(
    client: httpx.AsyncClient, population: Population
) -> None:
    variables: dict[str, Any] = {"chat_template_kwargs": {"enable_thinking": False}}

    for path, body in ((CHAT, chat_body()), (RESPONSE, {"model": "ada", "input": "hi"})):
        reply = (await client.post(path, json={**body, **variables})).json()

        assert population.engine.requests[-1].template == {"enable_thinking": False}
        assert [warning["param"] for warning in reply["warnings"]] == ["chat_template_kwargs"]
    assert len(await population.log("ada")) == 2


async def test_the_population_refuses_what_its_members_would_not_do(client: httpx.AsyncClient) -> None:
    body = chat_body(model="population", top_p=1, frequency_penalty=0, stop="x")

    refused = await client.post(CHAT, json=body)

    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "stop")
