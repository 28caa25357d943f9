"""Feed what others send with damaged and malicious inputs, and note what is not refused by name.

    python scripts/fuzz.py --seconds 600 [--seed 1]
        [--target archives|uploads|packed|journal|channel|presence|http]

Without a target all are fed in turn, each for its share of the time. Inputs are changed samples; the seed and
an input's number make it again: --number feeds one alone. Each finding is printed and kept as a file in
--keep. The exit status is 1 if there was one. What counts as one is in tests/fuzzing/running.py.
"""

import argparse
import json
import logging
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from tests.fuzzing.running import Finding, fuzz  # noqa: E402 - found by the line above
from tests.fuzzing.targets import TARGETS  # noqa: E402


def main() -> int:
    """Return 1 if something was found."""
    parser = argparse.ArgumentParser(description="Feed damaged and malicious inputs to what reads them.")
    parser.add_argument("--seconds", type=float, default=60.0, help="for all targets together")
    parser.add_argument("--target", choices=sorted(TARGETS), help="only this one")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--number", type=int, help="feed the input of this number alone")
    parser.add_argument("--keep", type=Path, default=ROOT / "build" / "fuzz", help="folder of what is found")
    options = parser.parse_args()
    logging.disable(logging.ERROR)
    names = sorted(TARGETS) if options.target is None else [options.target]
    found = 0
    for name in names:

        def tell(finding: Finding, target: str = name) -> None:
            options.keep.mkdir(parents=True, exist_ok=True)
            path = options.keep / f"{target}-{options.seed}-{finding.number}"
            path.write_bytes(finding.data)
            print(f"{path}: {finding.what}\n{finding.where}", file=sys.stderr, flush=True)

        with TARGETS[name]() as target:
            first = options.number or 0
            inputs = None if options.number is None else 1
            seconds = options.seconds / len(names)
            report = fuzz(target, seed=options.seed, inputs=inputs, seconds=seconds, first=first, found=tell)
        found += len(report.findings)
        outcomes = dict(report.outcomes.most_common())
        line = {"target": name, "seconds": round(seconds), "inputs": report.inputs, "outcomes": outcomes}
        print(json.dumps(line | {"findings": len(report.findings)}), flush=True)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
