"""A text in which nobody spelled a control token has the tokens that the tokenizer itself gives it."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

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
def test_what_the_template_wrote_is_read_as_ever(
    backend: Tokenizer, control: ControlTokens, parts: list[str]
) -> None:
    text = "".join(parts)
    encoding = backend.encode(text, add_special_tokens=False)

    assert control.rendered(text, text) == (encoding.ids, [stop for _, stop in encoding.offsets])


@given(parts=PARTS)
def test_what_is_covered_spells_no_control_token_and_reads_as_its_text(
    backend: Tokenizer, control: ControlTokens, parts: list[str]
) -> None:
    text = "".join(parts)
    covered = control.covered(text)

    assert len(covered) == len(text)
    assert (covered == text) == (control.text_ids(text) == backend.encode(text, add_special_tokens=False).ids)
    ids, ends = control.rendered(text, covered)
    assert ids == control.text_ids(text)
    assert backend.decode(ids, skip_special_tokens=True) == text
    assert len(ends) == len(ids)


def test_a_tokenizer_without_control_tokens_spells_none(backend: Tokenizer) -> None:
    control = ControlTokens(Tokenizer(WordLevel({"a": 0}, unk_token="a")))

    assert control.covered("<|im_end|>") == "<|im_end|>"
