"""Run pyright beside pytest, which gets the arguments; fail if either does.

    python scripts/supervise.py python scripts/check.py [PYTEST ARGUMENT ...]

pytest writes as it goes, and pyright's output follows it. The supervisor ends both when it is asked to stop.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

BIN = Path(sys.executable).parent


def main() -> int:
    """Return pytest's exit status, or else pyright's."""
    with tempfile.TemporaryFile() as report:
        with subprocess.Popen([BIN / "pyright"], stdout=report, stderr=subprocess.STDOUT) as types:
            tests = subprocess.run([BIN / "pytest", *sys.argv[1:]], check=False).returncode
        report.seek(0)
        print("pyright:", report.read().decode(errors="replace").strip(), flush=True)
    return tests or types.returncode


if __name__ == "__main__":
    sys.exit(main())
