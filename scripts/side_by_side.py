"""Run two commands at once; fail if either does.

    python scripts/supervise.py python scripts/side_by_side.py pytest … -- pyright

The output of the first is written as it comes, and that of the second follows. The supervisor ends both when
it is asked to stop. A pytest that finds nothing to run fails nothing, unless the other finds nothing either.
"""

import subprocess
import sys
import tempfile

NO_TESTS = 5
"""pytest's exit status if no test was selected."""


def main() -> int:
    """Return the worse exit status."""
    split = sys.argv.index("--")
    first, second = sys.argv[1:split], sys.argv[split + 1 :]
    with tempfile.TemporaryFile() as report:
        with subprocess.Popen(second, stdout=report, stderr=subprocess.STDOUT) as other:
            status = subprocess.run(first, check=False).returncode
        report.seek(0)
        print(f"\n{' '.join(second[:1])}:", report.read().decode(errors="replace").strip(), flush=True)
    statuses = [one for one in (status, other.returncode) if one != NO_TESTS]
    return max(statuses, key=abs, default=NO_TESTS)


if __name__ == "__main__":
    sys.exit(main())
