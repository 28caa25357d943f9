"""The parameters of a reply that both engines take, with vLLM's meanings."""

from dataclasses import replace
from typing import Any

import pytest

from populace.actors.engine import (
    Delta,
    GenerateRequest,
    Message,
    OwnedEngine,
    Prompt,
    RepetitionDetection,
    Sampling,
    joined,
)
from populace.actors.errors import InvalidRequest

pytestmark = [pytest.mark.engine, pytest.mark.asyncio(loop_scope="session")]

FRANCE = "The capital of France is"
FRANCE_IDS = (504, 3575, 282, 4649, 314)
GREEDY = Sampling(max_tokens=8, temperature=0.0)


async def ask(engine: OwnedEngine, prompt: Prompt = FRANCE, **options: Any) -> Delta:
    sampling = replace(GREEDY, **options)
    request = GenerateRequest("test", prompt, sampling)
    return joined([delta async for delta in engine.generate(request)])


async def test_a_prompt_is_told_with_the_likelihood_of_its_tokens(engine: OwnedEngine) -> None:
    read = (await ask(engine, prompt_logprobs=2)).prompt

    assert read is not None
    assert (read.ids, read.text, read.first) == (FRANCE_IDS, FRANCE, "The")
    assert [row.token_id for row in read.logprobs] == list(FRANCE_IDS[1:])
    assert all(len(row.top) == 2 and row.logprob <= row.top[0][2] <= 0 for row in read.logprobs)


async def test_the_likelihood_of_a_prompt_is_that_of_the_same_reply(engine: OwnedEngine) -> None:
    made = await ask(engine, logprobs=0)

    read = (await ask(engine, (*FRANCE_IDS, *made.token_ids), prompt_logprobs=0)).prompt

    assert read is not None
    scored = [row.logprob for row in read.logprobs[len(FRANCE_IDS) - 1 :]]
    assert scored == pytest.approx([row.logprob for row in made.logprobs], abs=2e-4)


async def test_a_prompt_that_nobody_asked_for_is_not_told(engine: OwnedEngine) -> None:
    assert (await ask(engine)).prompt is None
    read = (await ask(engine, returns_prompt=True)).prompt
    assert read is not None
    assert (read.text, read.first, read.logprobs) == (FRANCE, None, ())


async def test_a_stop_token_ends_the_reply_and_has_no_text_unless_it_is_included(engine: OwnedEngine) -> None:
    whole = await ask(engine)
    stop = whole.token_ids[2]

    cut = await ask(engine, stop_token_ids=(stop,))
    included = await ask(engine, stop_token_ids=(stop,), include_stop=True)

    assert (cut.token_ids, cut.finish_reason) == (whole.token_ids[:3], "stop")
    assert whole.text.startswith(included.text)
    assert included.text.startswith(cut.text)
    assert len(cut.text) < len(included.text)


async def test_nothing_ends_a_reply_before_its_least_length(engine: OwnedEngine) -> None:
    first = (await ask(engine)).token_ids[0]

    reply = await ask(engine, stop_token_ids=(first,), min_tokens=4)

    assert len(reply.token_ids) >= 4
    assert first not in reply.token_ids[:4]


async def test_biases_allowances_and_bad_words_bind_what_is_said(engine: OwnedEngine) -> None:
    whole = await ask(engine)
    said = whole.text.split()[0]

    assert (await ask(engine, logit_bias=((FRANCE_IDS[0], 100.0),))).token_ids == (FRANCE_IDS[0],) * 8
    allowed = await ask(engine, allowed_token_ids=FRANCE_IDS, ignore_eos=True)
    assert {*allowed.token_ids} <= {*FRANCE_IDS}
    assert said not in (await ask(engine, bad_words=(said,))).text.split()


async def test_a_repetition_penalty_counts_the_prompt(engine: OwnedEngine) -> None:
    prompt = " a" * 12

    plain = await ask(engine, prompt)
    penalised = await ask(engine, prompt, repetition_penalty=100.0)

    assert len({*plain.token_ids}) < 8
    assert len({*penalised.token_ids}) == 8


async def test_a_penalty_on_own_words_spares_what_the_person_said(engine: OwnedEngine) -> None:
    first = Message("user", "What is the capital of France?")
    plain = await ask(engine, (first,))
    again = (first, Message("assistant", plain.text), first)
    repeated = await ask(engine, again)

    spared = await ask(engine, (first,), own_words_penalty=100.0)
    assert spared.token_ids[:2] == plain.token_ids[:2]
    assert not {*repeated.token_ids}.isdisjoint(plain.token_ids)
    penalised = await ask(engine, again, own_words_penalty=100.0)
    assert {*penalised.token_ids}.isdisjoint(plain.token_ids)
    assert len({*penalised.token_ids}) == len(penalised.token_ids), "nor its own"


async def test_a_reply_ends_where_it_has_begun_to_repeat_itself(engine: OwnedEngine) -> None:
    allowed: dict[str, Any] = {"allowed_token_ids": FRANCE_IDS[:1], "ignore_eos": True}

    looped = await ask(engine, repetition_detection=RepetitionDetection(4, 3), **allowed)
    longer = await ask(engine, repetition_detection=RepetitionDetection(4, 3), min_tokens=5, **allowed)
    larger = await ask(engine, repetition_detection=RepetitionDetection(4, 2, 3), **allowed)
    whole = await ask(engine, repetition_detection=RepetitionDetection(4, 3))

    assert (len(looped.token_ids), looped.finish_reason) == (3, "repetition")
    assert len(longer.token_ids) == 5
    assert len(larger.token_ids) == 6
    assert whole.token_ids == (await ask(engine)).token_ids


async def test_a_chats_reply_that_is_no_more_than_a_loop_ends_streamed_or_whole(engine: OwnedEngine) -> None:
    chat = (Message("user", FRANCE),)
    looping = replace(GREEDY, max_tokens=200, allowed_token_ids=FRANCE_IDS[1:2], ignore_eos=True)

    async def ask_for(sampling: Sampling, *, prompt: Prompt = chat, stream: bool = True) -> list[Delta]:
        request = GenerateRequest("loop", prompt, sampling, stream=stream)
        return [delta async for delta in engine.generate(request)]

    watched = replace(looping, ends_degenerate=True)
    streamed = joined(await ask_for(watched))
    whole = joined(await ask_for(watched, stream=False))
    assert streamed == whole
    assert streamed.finish_reason == "repetition"
    assert len(streamed.token_ids) < 40
    for unwatched in (
        await ask_for(looping),
        await ask_for(replace(watched, min_tokens=1)),
        await ask_for(watched, prompt=FRANCE),  # a text is no chat
    ):
        assert joined(unwatched).finish_reason == "length"
    assert engine.statistics().running == 0


async def test_min_p_one_leaves_the_likeliest_alone(engine: OwnedEngine) -> None:
    assert (await ask(engine, temperature=1.5, min_p=1.0)).token_ids == (await ask(engine)).token_ids


@pytest.mark.parametrize(
    ("options", "parameter"),
    [
        ({"logit_bias": ((10**9, 1.0),)}, "logit_bias"),
        ({"logit_bias": ((1, 101.0),)}, "logit_bias"),
        ({"allowed_token_ids": (10**9,)}, "allowed_token_ids"),
        ({"stop_token_ids": (10**9,)}, "stop_token_ids"),
        ({"min_tokens": 9}, "min_tokens"),
        ({"min_p": 2.0}, "min_p"),
        ({"repetition_penalty": 0.0}, "repetition_penalty"),
        ({"own_words_penalty": 0.0}, "own_words_penalty"),
        ({"bad_words": (" ",)}, "bad_words"),
        ({"repetition_detection": RepetitionDetection(0, 2)}, "repetition_detection"),
        ({"repetition_detection": RepetitionDetection(4, 1)}, "repetition_detection"),
        ({"prompt_logprobs": 21}, "prompt_logprobs"),
    ],
    ids=str,
)
async def test_a_parameter_out_of_range_is_refused_by_name(
    engine: OwnedEngine, options: dict[str, Any], parameter: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await ask(engine, **options)

    assert refused.value.parameter == parameter
