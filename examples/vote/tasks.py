# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# python-debian has no types.
"""What a population is asked: questions whose answer is one of a few, each a single token.

Items are split three ways: what members learn from, probes to choose members by, and what is asked of them.
"""

import random
import subprocess
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from debian.deb822 import Packages

SECTIONS = ("admin", "games", "graphics", "math", "net", "science", "sound", "text")
"""Of Debian: what packages are about, not what they are written in."""


class Item(NamedTuple):
    """What a model reads, and the number of the choice that is right."""

    prompt: str
    label: int


class Amounts(NamedTuple):
    """How many items there are of each kind."""

    taught: int
    probes: int
    asked: int


class Task(NamedTuple):
    """A choice follows its prompt as it stands here, blanks included."""

    name: str
    choices: tuple[str, ...]
    taught: tuple[Item, ...]
    probes: tuple[Item, ...]
    asked: tuple[Item, ...]


def products(amounts: Amounts, seed: int) -> Task:
    """The last digit of a number of two digits times one of one, whose other digits are there."""
    pairs = [(first, second) for first in range(10, 100) for second in range(2, 10)]
    random.Random(f"products {seed}").shuffle(pairs)
    items = [
        Item(f"{first} * {second} = {first * second // 10}", first * second % 10) for first, second in pairs
    ]
    return _split("products", tuple(map(str, range(10))), items, amounts)


def sections(amounts: Amounts, seed: int, available: str) -> Task:
    """Which section of Debian a package is in, by what it says in a line.

    ``available`` is what ``apt-cache dumpavail`` prints. A source's packages say much the same, so that one
    of each is taken, and as many of each section.
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
        raise ValueError(f"{each} packages of each section are asked for; too few are {', '.join(few)}")
    chance = random.Random(f"sections {seed}")
    items = [
        Item(f"{line}\nSection:", label)
        for label, name in enumerate(SECTIONS)
        for line in chance.sample(list(by_section[name].values()), each)
    ]
    chance.shuffle(items)
    return _split("sections", tuple(f" {name}" for name in SECTIONS), items, amounts)


def available_packages() -> str:
    """What this machine's apt knows of; needs Debian, and its lists.

    Raises ``OSError`` where there is no apt, and ``subprocess.CalledProcessError`` where it fails.
    """
    command = ["apt-cache", "dumpavail"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _split(name: str, choices: tuple[str, ...], items: Sequence[Item], amounts: Amounts) -> Task:
    first, second, third = amounts.taught, amounts.taught + amounts.probes, sum(amounts)
    if len(items) < third:
        raise ValueError(f"{third} items are asked for; {name} has {len(items)}")
    return Task(name, choices, tuple(items[:first]), tuple(items[first:second]), tuple(items[second:third]))
