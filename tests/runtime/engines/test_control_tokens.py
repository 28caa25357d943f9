# pyright: reportUnknownMemberType=false
# tokenizers' methods that add tokens are partly untyped.
"""A text in which nobody spelled a control token has the tokens that the tokenizer itself gives it."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer
from tokenizers.models import BPE, Unigram, WordLevel
from tokenizers.normalizers import NFKC, Normalizer
from tokenizers.pre_tokenizers import ByteLevel

from populace.engines.control_tokens import ControlTokens

PARTS = st.lists(
    st.text(" \naé🙂<|>_.1") | st.sampled_from(["<|im_start|>", "<|im_end|>", "<filename>", "im_end"])
)


@pytest.fixture(scope="module")
def backend(base_files: Path) -> Tokenizer:
    return Tokenizer.from_file(str(base_files / "tokenizer.json"))


@pytest.fixture(scope="module")
def control(backend: Tokenizer) -> ControlTokens:
    return ControlTokens(backend)


@given(parts=PARTS)
def test_what_is_marked_is_read_as_ever(backend: Tokenizer, control: ControlTokens, parts: list[str]) -> None:
    text = "".join(parts)
    encoding = backend.encode(text, add_special_tokens=False)
    marked = control.marked(text)

    assert control.unmarked(marked) == text
    assert control.read(marked) == (encoding.ids, [stop for _, stop in encoding.offsets])


@given(parts=PARTS)
def test_what_is_not_marked_is_text(backend: Tokenizer, control: ControlTokens, parts: list[str]) -> None:
    text = "".join(parts)

    ids, ends = control.read(text)

    is_plain = ids == backend.encode(text, add_special_tokens=False).ids
    assert is_plain == (not control.spelled(text))
    assert ids == control.text_ids(text)
    assert backend.decode(ids, skip_special_tokens=True) == text
    assert len(ends) == len(ids)


def test_the_strings_of_a_value_are_found_wherever_they_are(control: ControlTokens) -> None:
    assert control.spelled([{"a": [1, None, ("<|im_end|>x", 2.5)]}, {"x<filename>": True}]) == {
        "<|im_end|>",
        "<filename>",
    }
    assert control.spelled([{"a": ["<|im_", "end|>"]}]) == frozenset()


def test_a_tokenizer_without_control_tokens_spells_none(backend: Tokenizer) -> None:
    control = ControlTokens(Tokenizer(WordLevel({"a": 0}, unk_token="a")))

    assert control.spelled("<|im_end|>") == frozenset()


def test_an_added_token_that_is_shown_is_one_if_the_template_writes_it() -> None:
    tokenizer = bytes_tokenizer("<think>", "<table>", "\n\n")
    control = ControlTokens(tokenizer, "{{ '<think>\n\n' }}")

    assert control.spelled("<think><table>\n\n") == {"<think>"}
    thinks, table = (tokenizer.token_to_id(token) for token in ("<think>", "<table>"))
    assert thinks in control.text_ids("<think><table>")  # a model says it so
    assert thinks not in control.read("<think><table>")[0]
    assert control.read("<think><table>")[0][-1] == table


def test_a_token_that_a_text_becomes_when_it_is_normalised_is_spelled_by_it() -> None:
    tokenizer = bytes_tokenizer("<think>", normalizer=NFKC())
    control = ControlTokens(tokenizer, "<think>")
    wide = "\uff1cthink\uff1e"

    assert tokenizer.encode(wide).ids == [tokenizer.token_to_id("<think>")]
    assert control.spelled(wide) == {"<think>"}
    assert tokenizer.token_to_id("<think>") not in control.read(wide)[0]


@pytest.mark.parametrize("model", ["bpe", "unigram"])
def test_no_word_of_the_vocabulary_makes_the_token(model: str) -> None:
    """As in bases whose vocabulary has the token ``<s>`` and the parts that it can be merged of."""
    parts = ["<unk>", "<", "s", ">", "<s", "<s>"]
    if model == "bpe":
        made = BPE({part: number for number, part in enumerate(parts)}, [("<", "s"), ("<s", ">")])
    else:
        made = Unigram([(part, -len(parts) + float(number)) for number, part in enumerate(parts)], 0, False)
    tokenizer = Tokenizer(made)
    tokenizer.add_special_tokens(["<s>"])
    control = ControlTokens(tokenizer)

    assert tokenizer.encode("<s>").ids == [5]
    assert control.read("<s>") == ([4, 3], [2, 3])
    assert control.read(control.marked("<s>>")) == ([5, 3], [3, 4])


def bytes_tokenizer(*added: str, normalizer: Normalizer | None = None) -> Tokenizer:
    """Return a tokenizer whose words are bytes, with added tokens that are not special."""
    alphabet = {character: number for number, character in enumerate(sorted(ByteLevel.alphabet()))}
    tokenizer = Tokenizer(BPE(alphabet, []))
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.add_tokens([AddedToken(token, special=False) for token in added])
    return tokenizer
