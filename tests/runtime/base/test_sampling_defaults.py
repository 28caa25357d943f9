"""A request that says nothing of sampling samples as the base's makers recommend."""

from pathlib import Path
from typing import Any

import pytest

from populace.actors.engine import SamplingDefaults
from populace.base.files import BaseInvalid
from populace.base.sampling_defaults import FILE, read_sampling_defaults


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{}", SamplingDefaults(own_words_penalty=1.1)),
        (
            '{"temperature": 0.6, "top_p": 0.95, "top_k": 20, "repetition_penalty": 1.1, "min_p": 0.05}',
            SamplingDefaults(0.6, 0.95, 20, 1.1, min_p=0.05),
        ),
        ('{"temperature": 0.2, "own_words_penalty": 1.2}', SamplingDefaults(0.2, own_words_penalty=1.2)),
        ('{"temperature": null, "top_k": 50, "eos_token_id": [1, 2]}', SamplingDefaults(top_k=50)),
    ],
)
def test_the_file_says_what_it_says_and_nothing_else(
    tmp_path: Path, text: str, expected: SamplingDefaults
) -> None:
    (tmp_path / FILE).write_text(text)

    assert read_sampling_defaults(tmp_path) == expected


def test_without_a_recommendation_the_temperature_is_low_and_nothing_else_narrows_the_choice(
    tmp_path: Path,
) -> None:
    expected: dict[str, Any] = {"temperature": 0.2, "top_p": 1.0, "top_k": 0, "repetition_penalty": 1.0}
    expected |= {"ends_degenerate": False, "min_p": 0.0, "own_words_penalty": 1.1}

    assert read_sampling_defaults(tmp_path)._asdict() == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"min_p": 2}',
        '{"temperature": "hot"}',
        '{"top_p": 0}',
        '{"top_k": -1}',
        '{"repetition_penalty": 0}',
    ],
)
def test_a_damaged_file_is_refused_by_name(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)

    with pytest.raises(BaseInvalid, match=FILE):
        read_sampling_defaults(tmp_path)
