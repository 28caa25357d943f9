"""Every name that ``populace`` exports is typed for whoever checks their own code against it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

CONTRACTS = ("populace.actors", "populace.api", "populace.client", "populace.hosting", "populace.storage")
"""Packages of which the message names causes: what an exported class may use."""


def test_every_exported_name_has_a_type_that_all_checkers_agree_on(tmp_path: Path) -> None:
    """A type checker infers less, or otherwise, in a library than what the library declares.

    pyright reports a class that uses an undeclared type, wherever in Populace that is.
    """
    binaries = Path(sys.executable).parent
    path = f"{binaries}{os.pathsep}{os.environ['PATH']}"
    checked = subprocess.run(
        [binaries / "pyright", "--verifytypes", "populace", "--ignoreexternal", "--outputjson"],
        cwd=tmp_path,
        env={**os.environ, "PATH": path},
        stdout=subprocess.PIPE,
        check=False,
    )
    symbols: list[dict[str, Any]] = json.loads(checked.stdout)["typeCompleteness"]["symbols"]
    exported = [symbol for symbol in symbols if symbol["name"].count(".") == 1]
    assert len(exported) > 50, "pyright has found the package"
    vague = {symbol["name"] for symbol in exported if symbol["isTypeAmbiguous"] or not symbol["isTypeKnown"]}
    causes = [
        f"{symbol['name']}: {diagnostic['message']}"
        for symbol in symbols
        for diagnostic in symbol["diagnostics"]
        if "nferred" in diagnostic["message"] and symbol["name"].startswith(CONTRACTS)
    ]
    assert not vague, "\n".join([*sorted(vague), "", *causes])
