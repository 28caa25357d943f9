"""A log's words find the turns that fit, also those that came after they were counted."""

import math

import pytest

from populace.actors.keepers.log_index import ADDED_SHARE, K1, B, LogIndex
from populace.policies.retrieval import words_of

TEXTS = (
    "My dog is called Bruno and he likes long walks in the park",
    "What is the weather like in Lisbon",
    "My sister Marta lives in Lisbon with her dog",
    "Tell me a joke about a carpenter",
    "The capital of Poland is Warsaw",
    "I moved from Warsaw to Lisbon",
    "My cello needs new strings",
    "犬の名前はポチです",
)


def turns(texts: tuple[str, ...], start: int = 0) -> list[tuple[int, list[str]]]:
    return [(position, words_of(text)) for position, text in enumerate(texts, start)]


def index_of(texts: tuple[str, ...]) -> LogIndex:
    return LogIndex().extended(turns(texts), start=0, end=len(texts)).counted()


def bm25(texts: tuple[str, ...], query: list[str]) -> list[float]:
    """The formula of the module's docstring, word by word."""
    documents = [words_of(text) for text in texts]
    mean = sum(map(len, documents)) / len(documents)
    scores: list[float] = []
    for words in documents:
        score = 0.0
        for word in query:
            df = sum(word in other for other in documents)
            idf = math.log(1 + (len(documents) - df + 0.5) / (df + 0.5))
            score += idf * words.count(word) / (words.count(word) + K1 * (1 - B + B * len(words) / mean))
        scores.append(score)
    return scores


@pytest.mark.parametrize("query", ["Which dog is called Bruno?", "Warsaw or Lisbon", "犬", "the a in"])
def test_turns_are_ranked_by_the_formula(query: str) -> None:
    words = list(dict.fromkeys(words_of(query)))
    scores = bm25(TEXTS, words)

    ranked = index_of(TEXTS).ranked(words)

    assert ranked == sorted(
        (position for position, score in enumerate(scores) if score > 0),
        key=lambda position: (-round(scores[position], 5), -position),
    )


def test_a_log_of_one_turn_is_found_by_its_words_and_by_no_others() -> None:
    index = index_of(TEXTS[:1])

    assert index.ranked(["bruno"]) == [0]
    assert index.ranked(["lisbon"]) == []


@pytest.mark.parametrize("words", [[], ["zebra"]])
def test_words_that_nobody_said_find_nothing(words: list[str]) -> None:
    assert index_of(TEXTS).ranked(words) == []
    assert LogIndex().ranked(words) == []


def test_of_equal_turns_the_newest_comes_first() -> None:
    assert index_of((TEXTS[0],) * 3).ranked(["bruno"]) == [2, 1, 0]


def test_a_turn_without_words_is_never_found_and_disturbs_no_other() -> None:
    index = LogIndex().extended([(0, []), *turns(TEXTS[:2], 1)], start=0, end=3).counted()

    assert index.ranked(["bruno"]) == [1]
    assert LogIndex().extended([(0, [])], start=0, end=1).counted().ranked(["bruno"]) == []


@pytest.mark.parametrize("counted", [1, 7, 8, 16, 100])
def test_what_came_later_is_found_as_what_was_there_before(counted: int) -> None:
    said = tuple(TEXTS[number % len(TEXTS)] for number in range(counted))
    index = index_of(said)

    for added in range(2 * max(1, counted // ADDED_SHARE) + 1):
        position = counted + added
        said_now = [(position, ["unheard", *words_of(TEXTS[0])])]
        index = index.extended(said_now, start=0, end=position + 1).counted()
        assert index.ranked(["unheard"])[0] == position
        assert index.ranked(["bruno"])[0] in range(counted + added + 1)
        assert index.end == position + 1


def test_a_turn_that_is_not_counted_scores_as_its_equal_that_is() -> None:
    said = TEXTS * ADDED_SHARE
    index = index_of(said).extended(turns(TEXTS[:1], len(said)), start=0, end=len(said) + 1)
    assert index.counted() is index

    ranked = index.ranked(words_of(TEXTS[0]))

    equal = {position for position in range(len(said)) if position % len(TEXTS) == 0} | {len(said)}
    assert set(ranked[: len(equal)]) == equal


def test_what_was_dropped_leaves_the_index() -> None:
    index = index_of(TEXTS)

    shorter = index.extended([], start=3, end=len(TEXTS)).counted()

    assert shorter.ranked(["bruno"]) == []
    assert shorter.ranked(["warsaw"]) == [5, 4]
    assert shorter.bytes < index.bytes
    assert index.ranked(["bruno"]) == [0], "the one before is as it was"
    assert index.extended([], start=8, end=8).counted().ranked(["warsaw"]) == []
