"""A base is made once, named by its content, and refused by name when it cannot be one."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file  # pyright: ignore[reportUnknownVariableType]

from populace.actors.engine import SamplingDefaults
from populace.base.default import (
    RECOMMENDATION,
    RECORD,
    default_directory,
    make_default,
    read_prepared,
)
from populace.base.files import fingerprint
from populace.base.prepare import BaseInvalid, BaseModelFiles, is_base_prepared, prepare_base
from populace.base.sampling_defaults import FILE, read_sampling_defaults
from populace.settings.environment import process_environment

CONFIG = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "max_position_embeddings": 512}


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def small_base(tmp_path: Path) -> Path:
    """A directory with everything that a base needs, and tiny weights."""
    directory = tmp_path / "small"
    directory.mkdir()
    (directory / "config.json").write_text(json.dumps(CONFIG))
    (directory / "tokenizer.json").write_text("{}")
    (directory / "chat_template.jinja").write_text("{{ messages }}")
    save_file({"a": torch.arange(6.0), "b": torch.ones(2, 3)}, directory / "model.safetensors")
    return directory


def snapshot(directory: Path) -> dict[str, tuple[int, int]]:
    return {path.name: (path.stat().st_size, path.stat().st_mtime_ns) for path in directory.rglob("*")}


def test_the_default_base_is_made_once_and_then_found_at_once(base_files: Path) -> None:
    cache = base_files.parent.parent
    stages: list[str] = []

    prepared = prepare_base(None, cache, progress=lambda stage, _: stages.append(stage))

    assert prepared.directory == base_files
    assert prepared.name == "SmolLM2-135M-Instruct"
    assert prepared.context_tokens == 8192
    assert prepared.has_chat_template
    assert stages == ["ready"]
    assert is_base_prepared(None, cache)


def test_the_recorded_fingerprint_is_that_of_the_files(base_files: Path) -> None:
    prepared = read_prepared(base_files)

    assert prepared is not None
    assert prepared.fingerprint == fingerprint(base_files)


def test_a_copy_of_a_base_has_the_same_fingerprint(base_files: Path, cache: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(base_files, copy)

    assert prepare_base(str(copy), cache).fingerprint == fingerprint(base_files)


def test_a_prepared_base_with_a_damaged_file_is_not_taken_for_whole(base_files: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(base_files, copy)
    (copy / "tokenizer.json").write_bytes(b"{}")

    assert read_prepared(copy) is None


@pytest.fixture
def prepared_before(small_base: Path, cache: Path) -> Path:
    """What an earlier version prepared: a base whose ``generation_config.json`` recommends nothing."""
    directory = default_directory(cache)
    shutil.copytree(small_base, directory)
    (directory / FILE).write_text('{"eos_token_id": 2}')
    sizes = {path.name: path.stat().st_size for path in directory.iterdir()}
    record = {"version": 1, "name": "small", "fingerprint": fingerprint(directory), "context_tokens": 512}
    (directory / RECORD).write_text(json.dumps(record | {"has_chat_template": True, "files": sizes}))
    return directory


def test_the_default_base_carries_what_its_card_recommends(base_files: Path) -> None:
    expected = SamplingDefaults(0.2, 0.9, own_words_penalty=1.1)

    assert read_sampling_defaults(base_files) == expected


def test_a_base_that_was_prepared_before_gets_the_recommendation_and_keeps_its_name(
    prepared_before: Path, cache: Path
) -> None:
    before = read_prepared(prepared_before)
    weights = (prepared_before / "model.safetensors").stat().st_mtime_ns

    assert prepare_base(None, cache) == before
    after = snapshot(prepared_before)

    assert json.loads((prepared_before / FILE).read_bytes()) == {"eos_token_id": 2, **RECOMMENDATION}
    sizes = {name: size for name, (size, _) in after.items() if name != RECORD}
    assert json.loads((prepared_before / RECORD).read_bytes())["files"] == sizes
    assert (prepared_before / "model.safetensors").stat().st_mtime_ns == weights
    assert prepare_base(None, cache) == before
    assert snapshot(prepared_before) == after
    assert sorted(path.name for path in prepared_before.parent.iterdir()) == [".lock", prepared_before.name]


@pytest.mark.parametrize("written", ['{"temperature": 1', "", '{"temperature": 1.0}'])
def test_a_recommendation_that_was_written_in_part_leaves_the_base_prepared(
    prepared_before: Path, cache: Path, written: str
) -> None:
    (prepared_before / FILE).write_text(written)

    prepared = prepare_base(None, cache)

    assert prepared.directory == prepared_before
    assert read_sampling_defaults(prepared_before).temperature == 0.2


def test_stopping_a_conversion_leaves_nothing_and_the_next_start_makes_it(cache: Path) -> None:
    program = (
        "import sys, pathlib; from populace.base.prepare import prepare_base; "
        "prepare_base(None, pathlib.Path(sys.argv[1]), progress=lambda stage, part: print(stage, flush=True))"
    )
    command = [sys.executable, "-P", "-c", program, str(cache)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=process_environment()
    ) as process:
        assert process.stdout is not None
        while process.stdout.readline().strip() != "load":
            assert process.poll() is None
        process.send_signal(signal.SIGINT)

    assert process.returncode != 0
    assert [path.name for path in (cache / "bases").iterdir()] == [".lock"]
    assert not is_base_prepared(None, cache)


def test_what_a_killed_conversion_left_is_removed_by_the_next(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    abandoned = default_directory(cache).parent / ".making-abandoned"
    (abandoned / "base").mkdir(parents=True)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "")

    with pytest.raises(BaseInvalid, match="pip could not fetch"):
        make_default(cache, lambda stage, part: None)

    assert list((cache / "bases").iterdir()) == []


def test_a_local_directory_is_read_and_never_written(small_base: Path, cache: Path) -> None:
    before = snapshot(small_base)

    prepared = prepare_base(str(small_base), cache)

    assert prepared == BaseModelFiles(
        small_base, "small", fingerprint(small_base), 512, has_chat_template=True
    )
    assert snapshot(small_base) == before


def test_a_fingerprint_is_computed_once_and_again_after_a_change(small_base: Path, cache: Path) -> None:
    def stages() -> list[str]:
        seen: list[str] = []
        prepare_base(str(small_base), cache, progress=lambda stage, _: seen.append(stage))
        return seen

    assert stages() == ["fingerprint", "ready"]
    assert stages() == ["ready"]
    save_file({"a": torch.zeros(6), "b": torch.ones(2, 3)}, small_base / "model.safetensors")
    assert stages() == ["fingerprint", "ready"]


def test_other_sharding_and_the_writers_version_do_not_change_the_fingerprint(small_base: Path) -> None:
    before = fingerprint(small_base)

    (small_base / "model.safetensors").unlink()
    save_file({"b": torch.ones(2, 3)}, small_base / "model-1.safetensors", metadata={"format": "pt"})
    save_file({"a": torch.arange(6.0)}, small_base / "model-2.safetensors")
    (small_base / "config.json").write_text(json.dumps(CONFIG | {"transformers_version": "9"}))

    assert fingerprint(small_base) == before


@pytest.mark.parametrize("part", ["weights", "shape", "config", "tokenizer", "template"])
def test_whatever_changes_the_tokens_changes_the_fingerprint(small_base: Path, part: str) -> None:
    before = fingerprint(small_base)

    if part == "weights":
        save_file({"a": torch.arange(1.0, 7.0), "b": torch.ones(2, 3)}, small_base / "model.safetensors")
    elif part == "shape":
        save_file({"a": torch.arange(6.0), "b": torch.ones(3, 2)}, small_base / "model.safetensors")
    elif part == "config":
        (small_base / "config.json").write_text(json.dumps(CONFIG | {"rope_theta": 1}))
    elif part == "tokenizer":
        (small_base / "tokenizer.json").write_text('{"a": 1}')
    else:
        (small_base / "chat_template.jinja").write_text("{{ other }}")

    assert fingerprint(small_base) != before


def test_a_base_without_chat_template_is_usable_and_says_so(
    small_base: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (small_base / "chat_template.jinja").unlink()

    prepared = prepare_base(str(small_base), cache)

    assert not prepared.has_chat_template
    assert "cannot chat" in caplog.text


def test_a_directory_that_is_not_there_is_refused(cache: Path, tmp_path: Path) -> None:
    with pytest.raises(BaseInvalid, match="no such directory"):
        prepare_base(str(tmp_path / "nowhere"), cache)


@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        ("config.json", None, "no config.json"),
        ("config.json", "{", "config.json is not JSON"),
        ("config.json", "[]", "config.json is not a JSON object"),
        ("tokenizer.json", None, "no tokenizer"),
        ("model.safetensors", None, "no .*safetensors weights"),
        ("model.safetensors", "short", "not a safetensors file"),
    ],
)
def test_an_incomplete_or_damaged_directory_is_refused_with_the_reason(
    small_base: Path, cache: Path, file: str, content: str | None, reason: str
) -> None:
    (small_base / file).unlink()
    if content is not None:
        (small_base / file).write_text(content)

    with pytest.raises(BaseInvalid, match=reason):
        prepare_base(str(small_base), cache)


def test_truncated_weights_are_refused(small_base: Path, cache: Path) -> None:
    weights = small_base / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4])

    with pytest.raises(BaseInvalid, match="ends 4 bytes before"):
        prepare_base(str(small_base), cache)


def test_pickled_weights_are_refused_by_name(small_base: Path, cache: Path) -> None:
    (small_base / "model.safetensors").rename(small_base / "pytorch_model.bin")

    with pytest.raises(BaseInvalid, match=r"pickles \(pytorch_model\.bin\)"):
        prepare_base(str(small_base), cache)


def test_a_model_that_is_not_a_causal_lm_is_refused_by_its_architecture(
    small_base: Path, cache: Path
) -> None:
    (small_base / "config.json").write_text(json.dumps(CONFIG | {"architectures": ["BertForMaskedLM"]}))

    with pytest.raises(BaseInvalid, match="BertForMaskedLM is not a causal LM"):
        prepare_base(str(small_base), cache)


def test_a_hub_id_is_not_downloaded_unless_asked_for(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(cache / "hub"))

    with pytest.raises(BaseInvalid, match="no download was asked for"):
        prepare_base("nobody/nothing", cache)
