"""The API keys of this user, for the command line: one file, readable by its owner only.

The store keeps only hashes; this file is the client's side, like the password file of any other client.
"""

import json
import os
from pathlib import Path

FILE_NAME = "credentials.json"


class Credentials:
    """Maps store ids to API keys, in a file."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / FILE_NAME

    def find(self, store_id: str) -> str | None:
        return self._read().get(store_id)

    def keep(self, store_id: str, key: str) -> None:
        keys = {**self._read(), store_id: key}
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = self._path.with_suffix(".tmp")
        temporary.unlink(missing_ok=True)
        descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(keys, file, indent=2)
        temporary.replace(self._path)

    def _read(self) -> dict[str, str]:
        try:
            return dict(json.loads(self._path.read_text()))
        except FileNotFoundError:
            return {}
