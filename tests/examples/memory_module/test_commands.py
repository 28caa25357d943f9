"""The command line makes episodes, trains on them, goes on, and shows what it made."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from examples.memory_module.__main__ import app
from examples.memory_module.episodes import read_episodes

pytestmark = pytest.mark.engine


def memory(*arguments: object) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments)])


@pytest.fixture(scope="module")
def folder(small_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Episodes to train on and to validate on."""
    folder = tmp_path_factory.mktemp("memory")
    for name, part, count in (("train.jsonl", "train", 40), ("held-out.jsonl", "held-out", 4)):
        made = memory(
            "corpus",
            folder / name,
            "--part",
            part,
            "--episodes",
            count,
            "--facts-max",
            2,
            "--base",
            small_base,
        )
        assert made.exit_code == 0, made.output
        assert len((folder / name).read_text().splitlines()) == count
    return folder


def train(folder: Path, small_base: Path, to: Path, *more: object) -> Result:
    fixed = ("--held-out", folder / "held-out.jsonl", "--to", to, "--base", small_base, "--batch", 4)
    return memory("train", folder / "train.jsonl", *fixed, "--validate-every", 2, *more)


def test_a_module_is_trained_trained_on_and_shown(folder: Path, small_base: Path, tmp_path: Path) -> None:
    path = tmp_path / "module.safetensors"
    done = train(folder, small_base, path, "--steps", 2)
    assert done.exit_code == 0, done.output
    assert "right to the token" in done.output

    again = train(folder, small_base, tmp_path / "more.safetensors", "--steps", 2, "--first", path)
    assert again.exit_code == 0, again.output

    shown = json.loads(memory("inspect", path, "--json").output)
    assert shown["bytes"] == path.stat().st_size
    assert shown["shape"]["rank"] == 8


def test_episodes_can_be_in_peoples_own_words(small_base: Path, tmp_path: Path) -> None:
    path = tmp_path / "people.jsonl"

    made = memory("corpus", path, "--own-words", "--episodes", 20, "--base", small_base)

    assert made.exit_code == 0, made.output
    assert any(not one.tells for episode in read_episodes(path) for one in episode.messages)


def test_a_session_goes_on_only_as_what_it_was(folder: Path, small_base: Path, tmp_path: Path) -> None:
    path = tmp_path / "module.safetensors"
    assert train(folder, small_base, path, "--steps", 2).exit_code == 0

    finished = train(folder, small_base, path, "--steps", 2, "--resume")
    assert finished.exit_code == 0, finished.output
    for other in (("--rank", 4), ("--writes", "message"), ("--seed", 1)):
        refused = train(folder, small_base, path, "--steps", 2, "--resume", *other)
        assert refused.exit_code == 1
        assert "was made with other" in refused.output.replace("\n", " ")


def test_what_cannot_be_is_refused_before_anything_is_computed(
    folder: Path, small_base: Path, tmp_path: Path
) -> None:
    crossed = memory("corpus", tmp_path / "none.jsonl", "--facts-min", 3, "--facts-max", 2)
    assert crossed.exit_code == 1
    assert "--facts-min 3 is more than --facts-max 2" in crossed.output
    assert not (tmp_path / "none.jsonl").exists()

    nowhere = train(folder, small_base, tmp_path / "absent" / "module.safetensors")
    assert nowhere.exit_code == 1
    assert "There is no directory" in nowhere.output.replace("\n", " ")

    (tmp_path / "damaged").write_bytes(b"damaged")
    assert memory("inspect", tmp_path / "damaged").exit_code == 1
