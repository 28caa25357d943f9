"""A sentence's vector is that of the original encoder, and sentences that mean the same are alike."""

import json
import shutil
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file  # pyright: ignore[reportUnknownVariableType]
from transformers import AutoModel, AutoTokenizer

from populace.encoder.bert import TOKENS_MAX, BertEncoder
from populace.encoder.files import CONFIG, WEIGHTS, EncoderInvalid
from populace.encoder.on_use import EncoderOnUse

SENTENCES = (
    "What is my dog called?",
    "I moved to Porto in May, and it rains a lot here.",
    "Where do I live?",
    "",
    "dog " * 400,
)
UNREADABLE = ("หมาของฉันชื่ออะไร", "የውሻዬ ስም ማን ነው?")


@pytest.fixture(scope="module")
def encoder(encoder_files: Path) -> BertEncoder:
    return BertEncoder(encoder_files)


@pytest.mark.engine
def test_vectors_are_those_that_transformers_computes(encoder: BertEncoder, encoder_files: Path) -> None:
    tokenizer = cast(Any, AutoTokenizer).from_pretrained(encoder_files)
    model = cast(Any, AutoModel).from_pretrained(encoder_files)
    expected: list[Any] = []
    for sentence in SENTENCES:
        ids = tokenizer(sentence, return_tensors="pt", truncation=True, max_length=TOKENS_MAX)
        with torch.no_grad():
            mean = model(**ids).last_hidden_state[0].mean(0)
        expected.append((mean / mean.norm()).numpy())

    assert np.abs(encoder.vectors(SENTENCES) - np.stack(expected)).max() < 1e-5


def test_many_at_once_are_as_each_by_itself(encoder: BertEncoder) -> None:
    many = [f"{sentence} {number}" for number in range(40) for sentence in SENTENCES[:3]]

    together, alone = encoder.vectors(many), np.concatenate([encoder.vectors([one]) for one in many])

    assert together.dtype == np.float32
    assert np.abs(together - alone).max() < 1e-5


def test_what_means_the_same_is_more_alike_than_what_shares_its_words(encoder: BertEncoder) -> None:
    asked, same, other = encoder.vectors(
        ["What is my dog called?", "What's the name of my dog?", "What is my street called?"]
    )

    assert asked @ same > 0.8 > asked @ other


def test_no_texts_have_no_vectors(encoder: BertEncoder) -> None:
    assert encoder.vectors([]).shape == (0, 384)


def test_what_it_cannot_read_is_like_nothing(encoder: BertEncoder) -> None:
    vectors = encoder.vectors([*UNREADABLE, *SENTENCES])

    assert not vectors[: len(UNREADABLE)].any()
    assert np.abs(vectors[len(UNREADABLE) :] - encoder.vectors(SENTENCES)).max() < 1e-5


def test_it_is_loaded_when_it_is_needed(encoder: BertEncoder, encoder_files: Path) -> None:
    on_use = EncoderOnUse(encoder_files)
    assert not on_use.is_loaded

    assert np.array_equal(on_use.vectors(SENTENCES), encoder.vectors(SENTENCES))
    assert on_use.is_loaded


def test_an_encoder_of_other_names_or_another_kind_finds_nothing_alike(
    encoder_files: Path, tmp_path: Path
) -> None:
    renamed = shutil.copytree(encoder_files, tmp_path / "renamed")
    weights = load_file(renamed / WEIGHTS)
    save_file({f"bert.{name}": weight for name, weight in weights.items()}, renamed / WEIGHTS)
    other = shutil.copytree(encoder_files, tmp_path / "other")
    config = json.loads((other / CONFIG).read_text())
    (other / CONFIG).write_text(json.dumps(config | {"hidden_act": "relu"}))

    for directory in (renamed, other):
        assert not EncoderOnUse(directory).vectors(SENTENCES).any()
    with pytest.raises(EncoderInvalid, match="hidden_act is relu"):
        BertEncoder(other)


def test_files_that_cannot_be_loaded_find_nothing_alike_and_are_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    encoder = EncoderOnUse(tmp_path)

    for _ in range(2):
        vectors = encoder.vectors(["What is my dog called?", "What is my dog called?"])
        assert (vectors @ vectors.T).max() == 0.0
    assert len(caplog.records) == 1
    assert "words alone" in caplog.text
