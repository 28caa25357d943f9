"""The documents that show something to run, and their blocks."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]

WHOLE = ("README.md", "docs/fine-tuning.md", "docs/learning.md", "docs/memory.md", "docs/tutorial.md")
"""Those that need a base: they compute a memory, train, or say what the base replies."""

REPLY = "# → "
"""A comment that begins with it is a line that the block prints."""


def documents() -> list[str]:
    return sorted(
        str(path.relative_to(ROOT))
        for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"))
        if "\n```python\n" in path.read_text(encoding="utf-8")
    )


def blocks_of(document: str, url: str, key: str, languages: str = "python") -> list[str]:
    """Return the document's blocks of these languages, for the reader whose Populace and key these are.

    ``languages`` are separated by ``|``. In a block of ``console`` commands are behind ``$``.
    """
    text = (ROOT / document).read_text(encoding="utf-8")
    blocks = re.findall(rf"^```(?:{languages})\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [block.replace("http://127.0.0.1:8000", url).replace("populace_…", key) for block in blocks]


def printed_by(blocks: list[str]) -> list[str]:
    """Return the lines that the document shows as printed, without those that have an ``…``."""
    shown = [
        line
        for block in blocks
        for line in (
            [line for line in block.splitlines() if line[:2] != "$ "]
            if block.startswith("$ ")
            else [line.partition(REPLY)[2] for line in block.splitlines() if REPLY in line]
        )
    ]
    return [line for line in shown if line.strip() and "…" not in line]
