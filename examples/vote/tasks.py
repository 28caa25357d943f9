# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# python-debian has no types.
"""The tasks of the study of votes: questions whose answer is one of a few choices, each a single token.

The items of a task are split into those of the training, probes by which members are chosen, and questions on
which they are measured.
"""

import random
import subprocess
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from debian.deb822 import Packages

SECTIONS = ("admin", "games", "graphics", "math", "net", "science", "sound", "text")
"""Sections of Debian that tell a package's subject, and not its programming language."""


class Item(NamedTuple):
    """A prompt, and the index of the right choice."""

    prompt: str
    label: int


class Amounts(NamedTuple):
    """The number of items of each part."""

    taught: int
    probes: int
    asked: int


class Task(NamedTuple):
    """A task. A choice is appended to a prompt as it is, with its spaces."""

    name: str
    choices: tuple[str, ...]
    taught: tuple[Item, ...]
    probes: tuple[Item, ...]
    asked: tuple[Item, ...]


def products(amounts: Amounts, seed: int) -> Task:
    """Return the task of completing a product of a two-digit and a one-digit number by its last digit."""
    pairs = [(first, second) for first in range(10, 100) for second in range(2, 10)]
    random.Random(f"products {seed}").shuffle(pairs)
    items = [
        Item(f"{first} * {second} = {first * second // 10}", first * second % 10) for first, second in pairs
    ]
    return _split("products", tuple(map(str, range(10))), items, amounts)


def sections(amounts: Amounts, seed: int, available: str) -> Task:
    """Return the task of naming a package's section of Debian from the first line of its description.

    ``available`` is the output of ``apt-cache dumpavail``. Packages of the same source have similar
    descriptions, so that only one of each source is used; each section has equally many. Raises
    ``ValueError`` if a section has too few.
    """
    by_section: dict[str, dict[str, str]] = defaultdict(dict)
    for package in Packages.iter_paragraphs(available.splitlines(), use_apt_pkg=False):
        section, lines = package.get("Section"), str(package.get("Description", "")).splitlines()
        if section in SECTIONS and lines:
            source = str(package.get("Source", package.get("Package"))).split()[0]
            by_section[section].setdefault(source, lines[0])
    each = -(-sum(amounts) // len(SECTIONS))
    few = [name for name in SECTIONS if len(by_section[name]) < each]
    if few:
        raise ValueError(f"{each} packages of each section are needed; fewer are in {', '.join(few)}")
    chance = random.Random(f"sections {seed}")
    items = [
        Item(f"{line}\nSection:", label)
        for label, name in enumerate(SECTIONS)
        for line in chance.sample(list(by_section[name].values()), each)
    ]
    chance.shuffle(items)
    return _split("sections", tuple(f" {name}" for name in SECTIONS), items, amounts)


def available_packages() -> str:
    """Return all packages that this machine's apt knows, as ``apt-cache dumpavail`` prints them.

    Raises ``OSError`` if there is no apt, and ``subprocess.CalledProcessError`` if it fails.
    """
    command = ["apt-cache", "dumpavail"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _split(name: str, choices: tuple[str, ...], items: Sequence[Item], amounts: Amounts) -> Task:
    first, second, third = amounts.taught, amounts.taught + amounts.probes, sum(amounts)
    if len(items) < third:
        raise ValueError(f"{third} items are needed; {name} has {len(items)}")
    return Task(name, choices, tuple(items[:first]), tuple(items[first:second]), tuple(items[second:third]))
