"""Episodes as files and as tokens, and the facts that they are made of."""

from itertools import islice
from pathlib import Path

import pytest

from examples.memory_module.encoding import (
    FIRST_TOKENS,
    FIRST_WEIGHT,
    LENGTH_STEP,
    OTHER_WEIGHT,
    VALUE_WEIGHT,
    EncodedEpisodes,
    EpisodeEncoder,
    OwnReply,
    batch_of,
)
from examples.memory_module.episodes import (
    Episode,
    Question,
    SaidMessage,
    read_episodes,
    write_episodes,
)
from examples.memory_module.facts import FactsOptions, fact_episodes
from examples.memory_module.general import GENERAL
from examples.memory_module.phrases import ANY, ATTRIBUTES, CHATTER, OWN_WAYS, filled, own_ways
from examples.memory_module.values import is_held_out
from examples.memory_module.words import words_of
from populace.actors.errors import EpisodesInvalid
from populace.adapters.memory.layer import NOT_WRITTEN
from populace.engines.prompts import BaseTokenizer
from tests.examples.memory_module.conftest import WORDS

EXAMPLE = Path(__file__).parents[3] / "examples" / "remember.py"
BRUNO = Episode(
    messages=(
        SaidMessage(role="user", content="My dog is New Bruno."),
        SaidMessage(role="assistant", content="Got it."),
        SaidMessage(role="user", content="It rains.", fresh=True),
        SaidMessage(role="assistant", content="Take an umbrella."),
    ),
    questions=(
        Question(ask="What is my dog?", answer="Your dog is New Bruno.", value="New Bruno"),
        Question(ask="Say hello.", answer=None),
    ),
)


@pytest.fixture(scope="module")
def tokenizer(base_files: Path) -> BaseTokenizer:
    return BaseTokenizer(base_files)


@pytest.fixture(scope="module")
def encoder(tokenizer: BaseTokenizer) -> EpisodeEncoder:
    return EpisodeEncoder(tokenizer, {"Say hello.": OwnReply("Hello!", whole=True)})


def test_a_file_of_episodes_comes_back_the_same(episodes: list[Episode], tmp_path: Path) -> None:
    path = tmp_path / "episodes.jsonl"

    assert write_episodes(path, episodes) == len(episodes)
    assert list(read_episodes(path)) == episodes


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("{", "line 2, the line"),
        ('{"messages": [], "questions": []}', "line 2, messages"),
        ('{"messages": [{"role": "system", "content": "x"}], "questions": []}', "line 2, messages.0.role"),
        (
            BRUNO.model_dump_json().replace('"value":"New Bruno"', '"value":"Rex"'),
            "line 2, questions.0",
        ),
    ],
)
def test_a_wrong_line_is_named(line: str, what: str, tmp_path: Path) -> None:
    path = tmp_path / "episodes.jsonl"
    path.write_text(BRUNO.model_dump_json() + "\n" + line + "\n")

    with pytest.raises(EpisodesInvalid, match=what):
        read_episodes(path)


def test_an_empty_or_missing_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    for name in ("empty", "missing"):
        with pytest.raises(EpisodesInvalid):
            read_episodes(tmp_path / name)


def test_what_is_written_are_the_messages_and_not_what_is_around_them(
    encoder: EpisodeEncoder, tokenizer: BaseTokenizer
) -> None:
    encoded = encoder.encode(BRUNO)

    written = [token for token, flag in zip(encoded.told.ids, encoded.written, strict=True) if flag >= 0]
    assert tokenizer.text(written).split("\n") == [
        "My dog is New Bruno.",
        "assistant",
        "Got it.It rains.",
        "assistant",
        "Take an umbrella.",
    ]
    assert "helpful" in tokenizer.text(encoded.told.ids[: encoded.written.index(0)])


def test_the_tokens_of_a_value_count_fully_and_are_paired_with_where_it_was_told(
    encoder: EpisodeEncoder, tokenizer: BaseTokenizer
) -> None:
    encoded = encoder.encode(BRUNO)

    dog, hello = encoded.answers
    value = [encoded.asked.ids[one.position] for one in dog if one.weight == VALUE_WEIGHT]
    assert tokenizer.text(value) == " New Bruno"
    assert not any(one.weight == VALUE_WEIGHT for one in hello)
    assert [encoded.asked.ids[targets[-1].position] in tokenizer.eos_ids for targets in (dog, hello)] == [
        True
    ] * 2
    assert [encoded.told.ids[link.told] for link in encoded.links] == value
    assert [encoded.asked.ids[link.recalled + 1] for link in encoded.links] == value


def test_the_first_tokens_of_an_answer_count_more_than_those_that_follow_from_them(
    encoder: EpisodeEncoder,
) -> None:
    encoded = encoder.encode(BRUNO)

    for targets in encoded.answers:
        assert targets[0].weight == FIRST_WEIGHT
        assert {one.weight for one in targets[:FIRST_TOKENS]} <= {FIRST_WEIGHT, VALUE_WEIGHT}
        assert {one.weight for one in targets[FIRST_TOKENS:]} <= {OTHER_WEIGHT, VALUE_WEIGHT}


def test_asking_is_written_only_where_the_episode_says_so(
    encoder: EpisodeEncoder, tokenizer: BaseTokenizer
) -> None:
    assert set(encoder.encode(BRUNO).asked_written) == {NOT_WRITTEN}

    chat = encoder.encode(BRUNO.model_copy(update={"asked_with_writes": True}))
    written = [token for token, flag in zip(chat.asked.ids, chat.asked_written, strict=True) if flag >= 0]
    assert tokenizer.text(written).split("\n") == [
        "What is my dog?",
        "assistant",
        "Your dog is New Bruno.Say hello.",
        "assistant",
        "Hello!",
    ]


def test_an_episode_is_encoded_once_and_when_it_is_asked_for(encoder: EpisodeEncoder) -> None:
    unknown = BRUNO.model_copy(update={"questions": (Question(ask="Never answered.", answer=None),)})
    episodes = EncodedEpisodes(encoder, [BRUNO, unknown])

    assert len(episodes) == 2
    assert episodes[0] == encoder.encode(BRUNO)
    assert episodes[0] is episodes[0]
    with pytest.raises(KeyError):
        episodes[1]


def test_rows_are_as_long_as_the_longest_and_a_multiple(encoder: EpisodeEncoder) -> None:
    encoded = encoder.encode(BRUNO)

    batch = batch_of([encoded, encoded])

    length = batch.told.ids.shape[1]
    assert length % LENGTH_STEP == 0
    assert len(encoded.told.ids) <= length < len(encoded.told.ids) + LENGTH_STEP
    assert batch.written.shape == batch.told.ids.shape
    assert bool((batch.written[:, len(encoded.told.ids) :] == NOT_WRITTEN).all())


def test_what_was_never_told_is_asked_for_and_answered_so() -> None:
    options = FactsOptions(facts_min=2, facts_max=2, not_told_share=1.0, general_share=0.0)
    for episode in islice(fact_episodes(WORDS, "train", seed=5, options=options), 50):
        [question] = [one for one in episode.questions if one.value is None]
        assert question.answer is not None
        attribute = question.answer.removeprefix("You have not told me your ").removesuffix(".")
        assert attribute in ATTRIBUTES
        known = [one.answer for one in episode.questions if one.value is not None]
        assert len(known) == 2
        assert not any(answer.startswith(f"Your {attribute} is ") for answer in known if answer)


@pytest.mark.parametrize("attribute", sorted(ATTRIBUTES))
def test_every_attribute_is_told_with_its_value_and_asked_for_without(attribute: str) -> None:
    for ways in (ANY, own_ways(attribute)):
        for phrase in ways.tell:
            assert "a value" in filled(phrase, attribute, "a value")
        for phrase in ways.ask:
            asked = filled(phrase, attribute, "a value")
            assert "a value" not in asked
            assert "{" not in asked


def test_what_is_own_to_an_attribute_is_of_one_that_there_is() -> None:
    assert OWN_WAYS.keys() <= ATTRIBUTES.keys()


def test_no_general_question_stands_twice_or_is_in_the_example() -> None:
    assert len(set(GENERAL)) == len(GENERAL)
    example = EXAMPLE.read_text()
    assert not [one for one in GENERAL if f'"{one}"' in example]
    assert not [one for one, _ in CHATTER if f'"{one}"' in example]


def test_no_value_of_training_is_held_out(base_files: Path) -> None:
    words = words_of(base_files)
    assert len(words) > 20_000
    for part, held_out in (("train", False), ("held-out", True)):
        values = [
            question.value
            for episode in islice(fact_episodes(words, part, seed=3), 300)  # type: ignore[arg-type]
            for question in episode.questions
            if question.value is not None
        ]
        assert len(set(values)) > 300
        assert all(any(map(is_held_out, value.split())) == held_out for value in values)


def test_the_same_seed_makes_the_same_episodes() -> None:
    def some(seed: int) -> list[Episode]:
        return list(islice(fact_episodes(WORDS, "train", seed=seed), 20))

    assert some(1) == some(1)
    assert some(1) != some(2)


def test_what_changed_is_asked_as_it_is_now() -> None:
    options = FactsOptions(
        facts_max=1, change_share=1.0, chatter_share=0.0, general_share=0.0, not_told_share=0.0
    )
    for episode in islice(fact_episodes(WORDS, "train", seed=4, options=options), 20):
        [question] = episode.questions
        assert question.value is not None
        assert question.value in episode.messages[-2].content
