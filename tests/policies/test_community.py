"""What everybody's model learns of people: what they liked, from each about as much, and nothing private."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from populace.policies.community import Liked, ToldWords, equal_shares, for_everybody


def told_by(*people: str) -> ToldWords:
    told = ToldWords()
    for number, text in enumerate(people):
        told.add(number, text)
    return told


def test_a_word_is_private_that_one_person_alone_told() -> None:
    told = told_by("My dog is called Bruno, born 2019.", "My dog barks at the moon.", "The MOON is far.")

    assert told.private_in("Bruno, of course: Bruno!") == {"bruno"}
    assert told.private_in("In 2019.") == {"2019"}
    assert told.private_in("The moon, and a dog.") == set(), "two told the one, and all say the other"
    assert told.private_in("Photosynthesis makes sugar.") == set(), "the model knew that by itself"
    told.add(0, "bruno barks")
    assert told.private_in("Bruno barks.") == {"bruno"}, "what is told again is told by one person still"


def test_in_scripts_without_spaces_characters_in_a_row_are_a_word() -> None:
    told = told_by("私は田中です。猫", "私は山です。田んぼの中です。")

    assert told.private_in("田中さん") == {"田中"}
    assert told.private_in("田と中の猫です") == set(), "each for itself is everybody's"
    assert told.private_in("猫。") == {"猫"}, "it stands alone"


@pytest.mark.parametrize(
    ("told", "others", "reply", "private"),
    [
        ("我的医生叫王小明。", "小王和国王明天来。", "王小明是医生。", {"王小", "小明", "王小明", "医生"}),
        ("我叫王小明。", "王小和小明来了。", "王小明。", {"王小明"}),
        ("娘の名前はさくらです。", "さくと、くらと、さと、名前はいいです。", "さくらさん", {"さくら"}),
        ("うちの犬はポチです。", "ポストとチーズです。", "ポチ", {"ポチ"}),
        ("我用iPhone手机。", "我用手机。", "iPhone手机", {"iphone"}),
        ("แมวชื่อบุญมี", "แม่ บุตร ชื่อ มีนา", "บุญมี", {"บุญ", "ุญม", "ญมี"}),
        ("2019年に行った", "2019年に来た", "2019年に", set[str]()),
    ],
)
def test_a_name_is_private_though_others_used_each_of_its_characters(
    told: str, others: str, reply: str, private: set[str]
) -> None:
    words = told_by(told, others)

    assert words.private_in(reply) == private
    assert words.leaks([reply], []) == private
    assert words.leaks([reply], [f"「{reply}」"]) == set()


def test_a_reply_with_a_private_word_is_nobody_elses_to_learn() -> None:
    told = told_by("My dog is Bruno.", "I like rivers.")
    people = [
        [Liked("Who?", "Bruno.", 0), Liked("How?", "With pleasure!", 1)],
        [Liked("Where?", "To Bruno.", 0), Liked("Why?", "Rivers flow.", 1), Liked("Why?", "Because.", 2)],
    ]

    assert for_everybody(people, told) == [[1], [2]]


def test_what_a_person_before_gave_already_is_not_learned_twice() -> None:
    told = ToldWords()
    people = [
        [Liked("How are you?", "Fine, thanks.", 0), Liked("how are YOU", "fine thanks!", 1)],
        [Liked("How are you", "Fine thanks", 0), Liked("And now?", "Fine, thanks.", 1)],
    ]

    assert for_everybody(people, told) == [[0], [1]]


def test_who_talks_a_lot_counts_as_much_as_the_one_in_the_middle() -> None:
    assert equal_shares([[10] * 100, [10] * 5, [10] * 3]) == [5, 5, 3]
    assert equal_shares([[10] * 100]) == [100]
    assert equal_shares([[], [7], []]) == [0, 1, 0]
    assert equal_shares([]) == []


@given(st.lists(st.lists(st.integers(1, 50), max_size=12), max_size=6))
def test_a_share_is_exceeded_by_less_than_a_reply_and_only_the_newest_are_in_it(
    people: list[list[int]],
) -> None:
    counts = equal_shares(people)

    totals = sorted(sum(tokens) for tokens in people if tokens)
    most = totals[(len(totals) - 1) // 2] if totals else 0
    for tokens, count in zip(people, counts, strict=True):
        given_ = tokens[len(tokens) - count :]
        assert (count > 0) == bool(tokens)
        assert sum(given_[1:]) < most or not given_
        assert sum(given_) >= min(sum(tokens), most)


def test_a_leak_is_a_private_word_that_neither_the_base_nor_the_request_says() -> None:
    told = told_by("Bruno lives in Ghent by the harbour.", "I live in Oslo.")

    assert told.leaks(["Bruno!", "Ghent is a city."], ["What is Ghent?", "A harbour."]) == {"bruno"}
    assert told.leaks(["Hello."], []) == set()
