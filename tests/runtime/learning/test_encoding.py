"""An example is the prompt that serving would render, then the reply and its end, which alone are learned."""

from pathlib import Path

import pytest

from populace.actors.engine import Message
from populace.engines.prompts import BaseTokenizer
from populace.learning.encoding import ExampleEncoder

PROMPT = [
    Message("system", "Be brief."),
    Message("user", "What is my city?"),
    Message("assistant", "Lisbon."),
    Message("user", "And my dog, whose name I told you?"),
]


@pytest.fixture(scope="module")
def tokenizer(base_files: Path) -> BaseTokenizer:
    return BaseTokenizer(base_files)


def test_the_reply_follows_the_prompt_that_serving_renders(tokenizer: BaseTokenizer) -> None:
    sequence = ExampleEncoder(tokenizer, 200).sequence(PROMPT, "Zażółć 🙂 Bruno.")

    assert sequence is not None
    asked = tokenizer.tokens_of(tuple(PROMPT)).ids
    first = sequence.scored[0]
    assert list(sequence.ids[:first]) == asked
    assert sequence.scored == tuple(range(first, len(sequence.ids)))
    assert tokenizer.text(sequence.ids[first:]) == "Zażółć 🙂 Bruno."
    assert sequence.ids[-1] in tokenizer.eos_ids
    assert not set(sequence.ids[first:-1]) & tokenizer.eos_ids


@pytest.mark.parametrize(
    "reply", ["End with <|im_end|> and a newline.", "<|im_end|>", "<|im_start|>user\nHi"]
)
def test_a_control_token_that_the_reply_spells_is_learned_as_its_text(
    tokenizer: BaseTokenizer, reply: str
) -> None:
    sequence = ExampleEncoder(tokenizer, 200).sequence(PROMPT, reply)

    assert sequence is not None
    learned = [sequence.ids[place] for place in sequence.scored]
    assert tokenizer.text(learned) == reply
    assert [place for place, token_id in enumerate(learned) if token_id in tokenizer.eos_ids] == [
        len(learned) - 1
    ]


def test_what_is_too_long_loses_its_oldest_turns_and_never_a_part_of_the_reply(
    tokenizer: BaseTokenizer,
) -> None:
    whole = ExampleEncoder(tokenizer, 200).sequence(PROMPT, "Bruno.")
    last = ExampleEncoder(tokenizer, 200).sequence([PROMPT[0], PROMPT[-1]], "Bruno.")
    assert whole is not None
    assert last is not None

    assert ExampleEncoder(tokenizer, len(whole.ids)).sequence(PROMPT, "Bruno.") == whole
    assert ExampleEncoder(tokenizer, len(whole.ids) - 1).sequence(PROMPT, "Bruno.") == last
    assert ExampleEncoder(tokenizer, len(last.ids)).sequence(PROMPT, "Bruno.") == last
    assert ExampleEncoder(tokenizer, len(last.ids) - 1).sequence(PROMPT, "Bruno.") is None


def test_of_a_long_chat_as_many_exchanges_stay_as_fit(tokenizer: BaseTokenizer) -> None:
    chat = [
        PROMPT[0],
        *[Message(role, "Hm?") for _ in range(20) for role in ("user", "assistant")],
        PROMPT[-1],
    ]
    kept = [[chat[0], *chat[1 + 2 * dropped :]] for dropped in range(21)]
    whole = [ExampleEncoder(tokenizer, 10_000).sequence(messages, "Bruno.") for messages in kept]

    for sequence in whole:
        assert sequence is not None
        assert ExampleEncoder(tokenizer, len(sequence.ids)).sequence(chat, "Bruno.") == sequence


def test_one_giant_message_is_no_example(tokenizer: BaseTokenizer) -> None:
    encoder = ExampleEncoder(tokenizer, 200)

    assert encoder.sequence([Message("user", "word " * 300)], "Yes.") is None
    assert encoder.sequence([Message("user", "Hi")], "word " * 300) is None


CALL = '[{"name": "weather", "arguments": {"city": "Paris"}}]'


def test_the_loss_of_a_turn_that_calls_tools_is_on_its_calls(tokenizer: BaseTokenizer) -> None:
    sequence = ExampleEncoder(tokenizer, 200).sequence([Message("user", "The weather in Paris?")], CALL)

    assert sequence is not None
    assert tokenizer.text([sequence.ids[place] for place in sequence.scored]) == CALL


def test_what_a_tool_returned_leaves_with_its_call(tokenizer: BaseTokenizer) -> None:
    answered = [Message("user", "Hi"), Message("assistant", CALL), Message("tool", "sunny")]
    last = ExampleEncoder(tokenizer, 200).sequence([PROMPT[-1]], "Bruno.")
    alone = ExampleEncoder(tokenizer, 200).sequence(answered, "It is sunny.")
    assert last is not None
    assert alone is not None

    assert ExampleEncoder(tokenizer, len(last.ids)).sequence([*answered, PROMPT[-1]], "Bruno.") == last
    assert ExampleEncoder(tokenizer, len(alone.ids) - 1).sequence(answered, "It is sunny.") is None
