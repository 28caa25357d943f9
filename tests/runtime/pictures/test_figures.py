"""Charts are the same bytes every time, and say what to install where matplotlib is missing."""

import sys

import pytest

from populace.pictures.curves import curves_picture
from populace.pictures.figures import MatplotlibMissing


def test_equal_values_make_equal_bytes_without_a_date_or_a_version() -> None:
    first, second = (curves_picture("Loss", {"PEFT": [2.0, 1.0]}) for _ in range(2))

    assert first == second
    assert "<dc:date>" not in first
    assert "Matplotlib v" not in first


def test_a_missing_matplotlib_is_an_error_that_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)

    with pytest.raises(MatplotlibMissing, match=r'pip install "populace\[pictures\]"'):
        curves_picture("Loss", {"PEFT": [2.0, 1.0]})
