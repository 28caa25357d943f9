"""One suite for every engine: what the ``Engine`` protocol promises.

Both engines run in float32. There the greedy tokens are equal: the two sum the same products in
another order, which moves a log probability by at most 4e-5 here, while the two best tokens are
never closer than 1.8e-2. In bfloat16 log probabilities move by up to 0.14, and greedy replies
part after 10 to 28 tokens; vLLM's also from its own in a batch of another size.
"""

import asyncio
import shutil
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import pytest_asyncio

from populace.actors.engine import (
    AdapterRef,
    Delta,
    GenerateRequest,
    Message,
    OwnedEngine,
    Prompt,
    Sampling,
)
from populace.actors.errors import AdapterInvalid, InvalidRequest, PromptTooLong
from populace.actors.owner import Owner
from populace.adapters.base_modules import read_base_modules
from populace.adapters.packing import pack_peft_directory
from populace.engines.torch_engine import TorchEngine
from populace.storage.revisions import adapter_digest
from tests.runtime.engines.engines_under_test import ENGINES
from tests.runtime.engines.real.conftest import ADAPTER_SLOTS, CONTEXT_TOKENS

pytestmark = [pytest.mark.engine, pytest.mark.asyncio(loop_scope="session")]

FRANCE = (Message("user", "What is the capital of France? Tell me about it."),)
END = 2
GREEDY = Sampling(max_tokens=16, temperature=0.0, logprobs=3)
CORRECTED = (
    Message(
        "system",
        "What the user said to you before:\n\n"
        "The user said: what tree did we put in for Emrys?\nYou answered: A medlar.",
    ),
    Message("user", "Which tree is the one planted for Emrys?"),
)
KEPT = ("A medlar.", "", "Emrys has an old walnut tree.", "It is the quince by the wall.")
# Five times the largest difference measured over 6 askers of 24 tokens with 3 alternatives each.
LOGPROB_TOLERANCE = 2e-4


@dataclass(frozen=True, slots=True)
class Answer:
    text: str
    token_ids: tuple[int, ...]
    deltas: tuple[Delta, ...]

    @property
    def logprobs(self) -> list[float]:
        return [entry.logprob for delta in self.deltas for entry in delta.logprobs]

    @property
    def finish_reason(self) -> str | None:
        return self.deltas[-1].finish_reason


async def ask(
    engine: OwnedEngine,
    sampling: Sampling,
    adapter: AdapterRef | None = None,
    *,
    prompt: Prompt = FRANCE,
    stream: bool = True,
    keeps_to: str = "",
    name: str = "test",
) -> Answer:
    request = GenerateRequest(name, prompt, sampling, adapter, stream, keeps_to=keeps_to)
    deltas = [delta async for delta in engine.generate(request)]
    token_ids = tuple(token_id for delta in deltas for token_id in delta.token_ids)
    return Answer("".join(delta.text for delta in deltas), token_ids, tuple(deltas))


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def alone(engines: dict[str, OwnedEngine], adapters: list[AdapterRef]) -> dict[str, list[Answer]]:
    """What each engine answers greedily when it is asked one at a time: base, then each adapter."""
    return {name: [await ask(engines[name], GREEDY, a) for a in (None, *adapters)] for name in ENGINES}


async def test_an_engine_reports_what_a_reply_took(engine: OwnedEngine) -> None:
    before = engine.statistics().work
    tokens = (await ask(engine, replace(GREEDY, max_tokens=5, ignore_eos=True))).token_ids
    after = engine.statistics().work

    assert before is not None
    assert after is not None
    assert after.generation_tokens - before.generation_tokens == len(tokens) == 5
    assert after.prompt_tokens > before.prompt_tokens
    assert after.finished.get("length", 0) - before.finished.get("length", 0) == 1
    assert after.between_tokens.total - before.between_tokens.total == 4
    for name in ("queue", "prefill", "decode", "first_token", "whole", "per_token"):
        assert getattr(after, name).total - getattr(before, name).total == 1
    assert after.whole.sum_s >= after.decode.sum_s > 0


@pytest.mark.parametrize("asked", range(ADAPTER_SLOTS + 3))
async def test_greedy_tokens_and_text_are_the_same_in_both_engines(
    alone: dict[str, list[Answer]], asked: int
) -> None:
    assert alone["torch"][asked].token_ids == alone["vllm"][asked].token_ids
    assert alone["torch"][asked].text == alone["vllm"][asked].text


@pytest.mark.parametrize("asked", range(ADAPTER_SLOTS + 3))
async def test_log_probabilities_agree_between_the_engines(
    alone: dict[str, list[Answer]], asked: int
) -> None:
    pairs = [[lp for d in alone[name][asked].deltas for lp in d.logprobs] for name in ENGINES]

    for of_torch, of_vllm in zip(*pairs, strict=True):
        assert of_torch.token_id == of_vllm.token_id
        assert of_torch.text == of_vllm.text
        assert of_torch.logprob == pytest.approx(of_vllm.logprob, abs=LOGPROB_TOLERANCE)
        assert len(of_torch.top) == len(of_vllm.top) == 3
        assert [t[2] for t in of_torch.top] == pytest.approx(
            [t[2] for t in of_vllm.top], abs=LOGPROB_TOLERANCE
        )


async def test_every_adapter_answers_otherwise_than_the_base(alone: dict[str, list[Answer]]) -> None:
    for base, *others in alone.values():
        assert base.token_ids not in [other.token_ids for other in others]


async def test_a_mixed_batch_gives_each_request_what_it_gets_alone(
    engine: OwnedEngine, alone: dict[str, list[Answer]], adapters: list[AdapterRef]
) -> None:
    """With every slot taken and used before: vLLM without a GPU lends the base the last slot's adapter."""
    askers = [None, *adapters[:ADAPTER_SLOTS]]
    expected = alone["torch" if isinstance(engine, TorchEngine) else "vllm"]

    answers = await asyncio.gather(*(ask(engine, GREEDY, asker) for asker in askers))

    for answer, single in zip(answers, expected, strict=False):
        assert answer.token_ids == single.token_ids
        assert answer.logprobs == pytest.approx(single.logprobs, abs=LOGPROB_TOLERANCE)


async def test_what_was_used_last_is_told_as_held(engine: OwnedEngine, adapters: list[AdapterRef]) -> None:
    for one in adapters:
        await ask(engine, Sampling(max_tokens=1), one)

    held = engine.held()

    # One slot more is for a tenant without a chat in the engine.
    assert list(held.hot) == [one.digest for one in reversed(adapters)][: ADAPTER_SLOTS + 1]
    assert set(held.warm) in (set(), {one.digest for one in adapters})


async def test_what_is_forgotten_is_no_longer_held_and_can_be_asked_for_again(
    engine: OwnedEngine, adapters: list[AdapterRef]
) -> None:
    before = await ask(engine, GREEDY, adapters[0])
    for one in adapters:
        await engine.forget(one)

    held = engine.held()

    assert held.hot == held.warm == ()
    again = await ask(engine, GREEDY, adapters[0])
    assert again.token_ids == before.token_ids


async def test_what_is_in_use_is_not_forgotten_under_its_request(
    engine: OwnedEngine, adapters: list[AdapterRef]
) -> None:
    before = await ask(engine, GREEDY, adapters[0])
    request = GenerateRequest("test", FRANCE, GREEDY, adapters[0])
    said: list[int] = []

    async for delta in engine.generate(request):
        if not said:
            await engine.forget(adapters[0])
        said += delta.token_ids

    assert tuple(said) == before.token_ids


async def test_more_adapters_than_slots_all_finish_with_their_own_weights(
    engine: OwnedEngine, alone: dict[str, list[Answer]], adapters: list[AdapterRef]
) -> None:
    answers = await asyncio.gather(*(ask(engine, GREEDY, adapter) for adapter in (*adapters, *adapters[:2])))

    expected = [answer.token_ids for answer in alone["torch"][1:]]
    assert [answer.token_ids for answer in answers] == [*expected, *expected[:2]]


async def test_only_the_last_delta_has_a_finish_reason(engine: OwnedEngine) -> None:
    answer = await ask(engine, GREEDY)

    assert len(answer.deltas) > 1
    assert [delta.finish_reason for delta in answer.deltas[:-1]] == [None] * (len(answer.deltas) - 1)
    assert {delta.prompt_tokens for delta in answer.deltas} == {42}


async def test_streamed_text_adds_up_to_the_unstreamed_reply(engine: OwnedEngine) -> None:
    streamed = await ask(engine, GREEDY)
    whole = await ask(engine, GREEDY, stream=False)

    assert streamed.text == whole.text
    assert streamed.token_ids == whole.token_ids


async def test_a_stop_string_ends_the_reply_and_is_not_part_of_it(engine: OwnedEngine) -> None:
    full = await ask(engine, GREEDY)
    stop = full.text.split()[4]
    stopped = await ask(engine, replace(GREEDY, stop=(stop, "never said")))

    assert stopped.text == full.text[: full.text.index(stop)]
    assert stopped.finish_reason == "stop"
    assert not any(stop in delta.text for delta in stopped.deltas)


async def test_a_tenant_without_a_chat_in_the_engine_finds_a_place_beside_a_flood(
    engine: OwnedEngine,
) -> None:
    long = Sampling(max_tokens=20, temperature=0.0, ignore_eos=True)
    asked = [GenerateRequest(f"flood-{number}", FRANCE, long, owner=Owner("flood")) for number in range(8)]

    async def read(request: GenerateRequest) -> int:
        return len([delta async for delta in engine.generate(request)])

    flood = [asyncio.create_task(read(request)) for request in asked]
    while engine.statistics().waiting < 4:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    quiet = engine.generate(GenerateRequest("quiet", FRANCE, GREEDY, owner=Owner("quiet")))
    async with aclosing(quiet) as deltas:
        await anext(deltas)
        beside = engine.statistics()

    assert (beside.running, beside.waiting) == (5, 4)
    assert min(await asyncio.gather(*flood)) > 0


async def test_a_reply_has_at_most_max_tokens(engine: OwnedEngine) -> None:
    answer = await ask(engine, replace(GREEDY, max_tokens=5))

    assert len(answer.token_ids) == 5
    assert answer.finish_reason == "length"


async def test_the_end_of_sequence_ends_the_reply_without_text(engine: OwnedEngine) -> None:
    answer = await ask(engine, replace(GREEDY, min_tokens=3, logit_bias=((END, 100.0),)))

    assert answer.finish_reason == "stop"
    assert END not in answer.token_ids[:-1]
    assert answer.token_ids[3:] == (END,)
    assert "<|im_end|>" not in answer.text


async def test_raw_text_and_its_token_ids_are_the_same_prompt(engine: OwnedEngine) -> None:
    text = await ask(engine, GREEDY, prompt="The capital of France is")
    ids = await ask(engine, GREEDY, prompt=(504, 3575, 282, 4649, 314))

    assert text.token_ids == ids.token_ids


async def test_a_seed_reproduces_the_reply_and_another_seed_does_not(engine: OwnedEngine) -> None:
    drawn = Sampling(max_tokens=16, temperature=1.0, top_p=0.95, top_k=50, seed=7)

    first, again, other = [await ask(engine, replace(drawn, seed=seed)) for seed in (7, 7, 8)]

    assert first.token_ids == again.token_ids
    assert first.token_ids != other.token_ids


async def test_a_presence_penalty_makes_every_token_new(engine: OwnedEngine) -> None:
    sampling = Sampling(max_tokens=24, temperature=0.0, presence_penalty=2.0, frequency_penalty=2.0)

    plain = await ask(
        engine, replace(sampling, presence_penalty=0.0, frequency_penalty=0.0), prompt="a a a a"
    )
    penalised = await ask(engine, sampling, prompt="a a a a")

    assert len(set(penalised.token_ids)) > len(set(plain.token_ids))


async def test_a_packed_file_answers_as_its_peft_directory_does(
    engine: OwnedEngine,
    alone: dict[str, list[Answer]],
    adapters: list[AdapterRef],
    base_directory: Path,
    tmp_path: Path,
) -> None:
    packed = pack_peft_directory(Path(adapters[2].path), read_base_modules(base_directory), rank_max=16)
    path = tmp_path / "adapter"
    path.write_bytes(packed)
    name = "torch" if isinstance(engine, TorchEngine) else "vllm"

    answer = await ask(engine, GREEDY, AdapterRef(adapter_digest(path)[0], str(path)))

    assert answer.token_ids == alone[name][3].token_ids


async def test_a_prepared_adapter_answers_as_one_that_was_not(
    engine: OwnedEngine, alone: dict[str, list[Answer]], adapters: list[AdapterRef], tmp_path: Path
) -> None:
    path = Path(shutil.copytree(adapters[1].path, tmp_path / "copy"))
    # The same weights by another name: an engine knows an adapter by the digest of its bytes.
    with (path / "adapter_config.json").open("a") as file:
        file.write("\n")
    copy = AdapterRef(adapter_digest(path)[0], str(path))

    await engine.prepare(copy)

    assert engine.statistics().adapters_hot == 0
    answers = alone["vllm" if engine.statistics().warm is not None else "torch"]
    assert await ask(engine, GREEDY, copy) == answers[2]


async def test_closing_the_generator_frees_the_slot(engine: OwnedEngine, adapters: list[AdapterRef]) -> None:
    replies = engine.generate(
        GenerateRequest("closed", FRANCE, Sampling(max_tokens=400, ignore_eos=True), adapters[0])
    )
    await anext(replies)
    assert engine.statistics().running == engine.statistics().adapters_hot == 1

    await replies.aclose()

    assert engine.statistics().running == engine.statistics().adapters_hot == 0
    engine.check_integrity()
    assert (await ask(engine, replace(GREEDY, max_tokens=2))).finish_reason == "length"


async def test_cancelling_the_reader_frees_the_slots_of_running_and_waiting_requests(
    engine: OwnedEngine,
) -> None:
    long = Sampling(max_tokens=400, ignore_eos=True)
    readers = [asyncio.create_task(ask(engine, long)) for _ in range(6)]
    watched = engine.generate(GenerateRequest("watched", FRANCE, replace(long, max_tokens=4)))
    while engine.statistics().waiting < 2:
        await asyncio.wait(readers, timeout=0.01)

    for reader in readers:
        reader.cancel()
    await asyncio.gather(*readers, return_exceptions=True)

    assert engine.statistics().running == engine.statistics().waiting == 0
    assert [delta async for delta in watched][-1].finish_reason == "length"


async def test_a_prompt_that_does_not_fit_the_context_is_refused_with_its_numbers(
    engine: OwnedEngine,
) -> None:
    with pytest.raises(PromptTooLong) as refused:
        await ask(engine, Sampling(max_tokens=100), prompt=(504,) * 450)
    with pytest.raises(PromptTooLong):
        await ask(engine, Sampling(max_tokens=None), prompt=(504,) * CONTEXT_TOKENS)

    assert (refused.value.prompt_tokens, refused.value.max_tokens, refused.value.context_tokens) == (
        450,
        100,
        512,
    )


async def test_eight_megabytes_are_refused_before_their_tokens_are_counted(engine: OwnedEngine) -> None:
    for prompt in ("ten words " * 800_000, (Message("user", "ten words " * 800_000),)):
        with pytest.raises(PromptTooLong) as refused:
            await ask(engine, Sampling(max_tokens=1), prompt=prompt)

        assert refused.value.prompt_tokens < 800_000, "a lower bound, and not their number"


async def test_without_max_tokens_the_reply_ends_with_the_context(engine: OwnedEngine) -> None:
    answer = await ask(
        engine, Sampling(temperature=0.0, ignore_eos=True), prompt=(504,) * (CONTEXT_TOKENS - 6)
    )

    assert len(answer.token_ids) == 6
    assert answer.finish_reason == "length"


async def test_an_adapter_that_cannot_be_used_is_refused_and_the_engine_serves_on(
    engine: OwnedEngine, adapters: list[AdapterRef], broken_adapter: AdapterRef, tmp_path: Path
) -> None:
    with pytest.raises(AdapterInvalid):
        await ask(engine, GREEDY, AdapterRef("nowhere", str(tmp_path / "nowhere")))
    with pytest.raises(AdapterInvalid):
        await ask(engine, GREEDY, broken_adapter)

    with pytest.raises(AdapterInvalid):
        await engine.prepare(broken_adapter)

    assert (await ask(engine, replace(GREEDY, max_tokens=2), adapters[0])).finish_reason == "length"


@pytest.mark.parametrize(
    ("sampling", "parameter"),
    [
        (Sampling(temperature=-1.0), "temperature"),
        (Sampling(top_p=0.0), "top_p"),
        (Sampling(logprobs=21), "logprobs"),
        (Sampling(max_tokens=0), "max_tokens"),
        (Sampling(stop=("",)), "stop"),
    ],
)
async def test_a_parameter_out_of_range_is_refused_by_name(
    engine: OwnedEngine, sampling: Sampling, parameter: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await ask(engine, sampling)

    assert refused.value.parameter == parameter


async def test_a_reply_is_drawn_to_the_correction_that_it_keeps_to(engine: OwnedEngine) -> None:
    drawn = await ask(engine, GREEDY, prompt=CORRECTED, keeps_to="A medlar.")
    free = await ask(engine, GREEDY, prompt=CORRECTED)

    assert (drawn.text, drawn.finish_reason) == ("A medlar.", "stop")
    assert free.text != drawn.text


async def test_replies_made_at_once_keep_each_to_their_own_text(engines: dict[str, OwnedEngine]) -> None:
    drawn: dict[str, list[Answer]] = {}
    short = replace(GREEDY, max_tokens=12)
    for name, engine in engines.items():
        alone = [await ask(engine, short, prompt=CORRECTED, keeps_to=text) for text in KEPT]
        drawn[name] = await asyncio.gather(
            # Twice as many as there are places: those that come later take the places of others.
            *(
                ask(engine, short, prompt=CORRECTED, keeps_to=text, name=f"{number}")
                for number, text in enumerate(KEPT * 2)
            )
        )
        assert [one.token_ids for one in drawn[name]] == [one.token_ids for one in alone] * 2

    assert len({one.token_ids for one in drawn["torch"]}) == len(KEPT)
    for of_torch, of_vllm in zip(drawn["torch"], drawn["vllm"], strict=True):
        assert (of_torch.text, of_torch.token_ids) == (of_vllm.text, of_vllm.token_ids)
        assert of_torch.logprobs == pytest.approx(of_vllm.logprobs, abs=LOGPROB_TOLERANCE)


@pytest.mark.parametrize("prompt", [(), "", (-1,), (10**9,)])
async def test_a_prompt_that_is_none_is_refused(engine: OwnedEngine, prompt: str | tuple[int, ...]) -> None:
    with pytest.raises(InvalidRequest):
        await ask(engine, GREEDY, prompt=prompt)
