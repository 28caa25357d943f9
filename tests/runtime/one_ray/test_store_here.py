"""Where no node of a Ray says that it has the store, this one has it."""

from pathlib import Path

import pytest

from populace.cluster.other_store import store_place
from populace.settings.settings import Settings

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("one_ray")]


def test_without_the_label_the_store_is_here_and_that_is_said(tmp_path: Path) -> None:
    told: list[str] = []

    assert store_place(Settings(data=tmp_path), told.append) is None

    assert told == [f"No node has the label populace.store=true, so the store is here, in {tmp_path}"]
