"""A release has the notes that the changelog has of it, and is what its signer signed."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from scripts.release import ReleaseRefused, check, main, notes_of, sign, write_sums
from tests.house.source_tree import ROOT

CHANGELOG = """# Changelog

## [Unreleased]

- What is to come.

## [0.2.0] - 2026-12-24

### Added

- Drains ([how](docs/architecture.md#how-it-stops)), and [elsewhere](https://example.org/a).

## [0.1.1] - unreleased

- No date.

## [0.1.0] - 2026-11-01

## [0.0.1] - 2026-10-01

- The first.
"""


def test_notes_are_those_of_the_version_with_links_that_lead_somewhere() -> None:
    notes = notes_of(CHANGELOG, "0.2.0", links="https://example.org/v0.2.0/")

    assert notes == (
        "### Added\n\n- Drains ([how](https://example.org/v0.2.0/docs/architecture.md#how-it-stops)), "
        "and [elsewhere](https://example.org/a)."
    )
    assert notes_of(CHANGELOG, "0.0.1") == "- The first."


@pytest.mark.parametrize(
    ("version", "why"),
    [
        ("0.3.0", "no heading"),
        ("Unreleased", "the date None"),
        ("0.1.1", "the date 'unreleased'"),
        ("0.1.0", "says nothing of 0.1.0"),
    ],
)
def test_a_version_without_notes_or_a_date_is_refused(version: str, why: str) -> None:
    with pytest.raises(ReleaseRefused, match=why):
        notes_of(CHANGELOG, version)


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen is not installed")
def test_what_was_signed_is_known_again_and_nothing_else_is(tmp_path: Path) -> None:
    for name in ("release", "other"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / name], check=True)
    signers = tmp_path / "signers"
    signers.write_text(f"release {(tmp_path / 'release.pub').read_text()}")
    made = tmp_path / "dist"
    made.mkdir()
    (made / "populace.whl").write_bytes(b"a wheel")
    write_sums(made)

    sign(made, str(tmp_path / "release"))
    check(made, str(signers))
    (made / "more").write_text("added later")
    with pytest.raises(ReleaseRefused, match="has other files"):
        check(made, str(signers))
    write_sums(made)
    with pytest.raises(ReleaseRefused, match="incorrect signature"):
        check(made, str(signers))
    sign(made, str(tmp_path / "other"))
    with pytest.raises(ReleaseRefused):
        check(made, str(signers))
    assert main(["check", str(made), "--signers", str(signers)]) == 1


def test_the_job_of_a_release_runs_what_there_is_and_has_no_right_that_it_does_not_need() -> None:
    job = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text(encoding="utf-8"))
    steps = [step["run"] for step in job["jobs"]["release"]["steps"] if "run" in step]

    asked = re.findall(r"-m scripts\.release (\w+)", "\n".join(steps))
    assert asked == ["notes", "build"]
    assert job["permissions"] == {"contents": "read"}
    assert job["jobs"]["release"]["permissions"] == {"contents": "write", "id-token": "write"}
