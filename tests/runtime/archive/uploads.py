"""Adapters as they are uploaded."""

import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path

from populace.adapters.random_adapter import write_random_adapter
from populace.storage.revisions import CONFIG_FILE, TENSORS_FILE
from tests.runtime.archive.homes import BASE_CONFIG

RANK = 2
TARGETS = ("q_proj", "v_proj")


def write_base(directory: Path) -> Path:
    """Write all of a base that adapters are checked against."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(BASE_CONFIG))
    return directory


def adapter_files(base_directory: Path, folder: Path, *, seed: int, rank: int = RANK) -> dict[str, bytes]:
    """The two files of a random adapter."""
    path = write_random_adapter(folder, base_directory, seed=seed, rank=rank, targets=TARGETS)
    return {name: (path / name).read_bytes() for name in (CONFIG_FILE, TENSORS_FILE)}


def zipped(
    members: Mapping[str | zipfile.ZipInfo, bytes] | Mapping[str, bytes],
    *,
    method: int = zipfile.ZIP_DEFLATED,
) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content, compress_type=method)
    return file.getvalue()
