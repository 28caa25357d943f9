"""Makes a release: wheel, source archive, list of parts (SBOM), notes, checksums and their signature.

    python -m scripts.release notes 0.2.0                  # the part of CHANGELOG.md, to standard output
    python -m scripts.release build dist                   # what is uploaded; needs pip install '.[release]'
    python -m scripts.release sign dist --key ~/.ssh/id    # SHA256SUMS.sig, by ssh-keygen
    python -m scripts.release check dist --signers FILE    # whether dist is what its signer signed

``notes`` refuses a version that the changelog does not have, or has without a date. ``build`` refuses one
without notes, or of which a part of ``make test-release`` has not passed, and makes the same wheel from the
same commit.
"""

import argparse
import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from pathlib import Path

from scripts.tiers import unpassed_parts

ROOT = Path(__file__).resolve().parent.parent
SUMS = "SHA256SUMS"
SIGNER = "release"
"""Who signs, as a file of signers names it: a line with this word, and the public key."""
PURPOSE = "populace-release"
HEADING = re.compile(r"^## \[(?P<version>[^\]]+)\](?: - (?P<date>.*))?$", re.MULTILINE)
DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
LINK = re.compile(r"\]\((?!https?:|#)(?P<place>[^)]+)\)")


class ReleaseRefused(Exception):
    """There is no such release to make, or it is not what was signed; says why."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return the exit status."""
    parser = argparse.ArgumentParser(description="Make a release")
    commands = parser.add_subparsers(dest="command", required=True)
    notes = commands.add_parser("notes", help="print what is new in a version")
    notes.add_argument("version")
    notes.add_argument("--links", default="", help="what relative links begin with, such as a URL of the tag")
    for name, text in (("build", "make it"), ("sign", "sign it"), ("check", "check its signature")):
        command = commands.add_parser(name, help=text)
        command.add_argument("directory", type=Path)
    commands.choices["sign"].add_argument("--key", required=True, help="a private key of ssh-keygen's")
    commands.choices["check"].add_argument(
        "--signers", required=True, help="a file of signers, as ssh has it"
    )
    given = parser.parse_args(arguments)
    try:
        if given.command == "notes":
            text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
            print(notes_of(text, given.version, links=given.links))
        elif given.command == "build":
            build(given.directory)
        elif given.command == "sign":
            sign(given.directory, given.key)
        else:
            check(given.directory, given.signers)
    except ReleaseRefused as error:
        print(f"refused: {error}", file=sys.stderr)
        return 1
    return 0


def notes_of(changelog: str, version: str, *, links: str = "") -> str:
    """Cut a version's notes out of the changelog. Raises ``ReleaseRefused``."""
    headings = list(HEADING.finditer(changelog))
    ends = [*(heading.start() for heading in headings[1:]), len(changelog)]
    found = {heading["version"]: (heading, end) for heading, end in zip(headings, ends, strict=True)}
    if version not in found:
        raise ReleaseRefused(f"CHANGELOG.md has no heading `## [{version}] - DATE`")
    heading, end = found[version]
    if not DATE.fullmatch(heading["date"] or ""):
        raise ReleaseRefused(f"CHANGELOG.md has the date {heading['date']!r} for {version}, not YYYY-MM-DD")
    text = changelog[heading.end() : end].strip()
    if not text:
        raise ReleaseRefused(f"CHANGELOG.md says nothing of {version}")
    return LINK.sub(lambda link: f"]({links}{link['place']})", text)


def build(directory: Path) -> None:
    """Make the wheel, the source archive, the SBOM, the notes and the checksums in a new directory."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    notes = notes_of((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), version)
    unpassed = unpassed_parts()
    if unpassed:
        raise ReleaseRefused(f"run `make test-release PART=…` first, and commit: {', '.join(unpassed)}")
    directory.mkdir(parents=True)
    environment = {**os.environ, "SOURCE_DATE_EPOCH": git("log", "-1", "--format=%ct").decode().strip()}
    with tempfile.TemporaryDirectory() as name:
        # From what is committed: a folder of an earlier build would bring deleted modules back.
        with tarfile.open(fileobj=io.BytesIO(git("archive", "HEAD"))) as committed:
            committed.extractall(name, filter="data")
        subprocess.run(
            [sys.executable, "-m", "build", "--outdir", str(directory.absolute()), name],
            env=environment,
            check=True,
        )
    write_parts(directory, version)
    (directory / "NOTES.md").write_text(notes + "\n", encoding="utf-8")
    write_sums(directory)


def write_parts(directory: Path, version: str) -> None:
    """Write which packages are installed with the wheel and its CPU engine, as CycloneDX has it."""
    (wheel,) = directory.glob("*.whl")
    with tempfile.TemporaryDirectory() as name:
        subprocess.run([sys.executable, "-m", "venv", name], check=True)
        python = f"{name}/bin/python"
        subprocess.run([python, "-m", "pip", "install", "--quiet", f"{wheel}[cpu]"], check=True)
        target = directory / f"populace-{version}.cdx.json"
        command = [sys.executable, "-m", "cyclonedx_py", "environment", "--output-reproducible"]
        command += ["--pyproject", str(ROOT / "pyproject.toml"), "--output-file", str(target), python]
        subprocess.run(command, check=True)


def write_sums(directory: Path) -> None:
    """Write the checksum of every other file, as sha256sum does."""
    (directory / SUMS).write_text(sums_of(directory), encoding="utf-8")


def sums_of(directory: Path) -> str:
    files = sorted(file for file in directory.iterdir() if not file.name.startswith(SUMS))
    return "".join(f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in files)


def sign(directory: Path, key: str) -> None:
    """Sign the checksums with a key of ssh-keygen's."""
    (directory / f"{SUMS}.sig").unlink(missing_ok=True)
    ssh_keygen("sign", "-f", key, "-n", PURPOSE, str(directory / SUMS))


def check(directory: Path, signers: str) -> None:
    """Raise ``ReleaseRefused`` unless the directory has what a signer of the file signed, and no more."""
    sums = (directory / SUMS).read_bytes()
    options = ("-f", signers, "-I", SIGNER, "-n", PURPOSE, "-s", str(directory / f"{SUMS}.sig"))
    ssh_keygen("verify", *options, said=sums)
    if sums_of(directory).encode() != sums:
        raise ReleaseRefused(f"{directory} has other files than {SUMS} lists")


def git(*arguments: str) -> bytes:
    return subprocess.run([program("git"), *arguments], cwd=ROOT, capture_output=True, check=True).stdout


def ssh_keygen(action: str, *options: str, said: bytes | None = None) -> None:
    """Run ssh-keygen's own signing. Raises ``ReleaseRefused`` with what it says."""
    command = [program("ssh-keygen"), "-Y", action, *options]
    done = subprocess.run(command, input=said, capture_output=True, check=False)
    if done.returncode != 0:
        raise ReleaseRefused((done.stdout + done.stderr).decode(errors="replace").strip())


def program(name: str) -> str:
    """Find a program. Raises ``ReleaseRefused`` without it."""
    found = shutil.which(name)
    if found is None:
        raise ReleaseRefused(f"{name} is not installed")
    return found


if __name__ == "__main__":
    sys.exit(main())
