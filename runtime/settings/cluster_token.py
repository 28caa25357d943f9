"""The token of a cluster: one file, readable by its owner only, which every machine of the cluster has.

Whoever reaches a port of Ray and has it can run code there as the user who serves.
"""

import os
import secrets
import tempfile
from pathlib import Path

from populace.settings.errors import SettingsError
from populace.settings.sources import variable_of

TOKEN_BYTES = 32


def make_token(path: Path) -> None:
    """Create the file with a new token unless it exists. Two that do this at once end with the same token."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    # mkstemp makes a file that its owner alone can read.
    descriptor, incoming = tempfile.mkstemp(dir=path.parent)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(TOKEN_BYTES))
        os.link(incoming, path)
    except FileExistsError:
        pass
    finally:
        Path(incoming).unlink()


def own_token(path: Path) -> Path:
    """Return the file of this machine's own cluster, which is made if it is absent.

    Raises ``SettingsError`` if what is there cannot be the token, of which Ray would say less.
    """
    make_token(path)
    problem = token_problem(path)
    if problem is not None:
        again = "" if "chmod" in problem else "; without that file a new token is made"
        raise SettingsError(variable_of("cluster_token_file"), str(path), f"{problem}{again}")
    return path


def token_problem(path: Path) -> str | None:
    """Say why the file cannot be used as a token, or None. Ray ends a process that cannot read its token."""
    try:
        token = path.read_text().strip()
    except FileNotFoundError:
        return "it does not exist"
    except (OSError, UnicodeDecodeError) as error:
        return f"it cannot be read: {error}"
    if not token:
        return "it is empty"
    if path.stat().st_mode & 0o077:
        return f"others can read it: chmod 600 {path}"
    return None
