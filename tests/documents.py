"""The documents that show something in Python, and their blocks."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]

WHOLE = ("README.md", "docs/fine-tuning.md", "docs/memory.md")
"""Those that need a base: they compute a memory, train, or say what the base replies."""


def documents() -> list[str]:
    return sorted(
        str(path.relative_to(ROOT))
        for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"))
        if "\n```python\n" in path.read_text(encoding="utf-8")
    )


def blocks_of(document: str, url: str, key: str) -> list[str]:
    """Return the document's blocks of Python, for the reader whose Populace and key these are."""
    text = (ROOT / document).read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [block.replace("http://127.0.0.1:8000", url).replace("populace_…", key) for block in blocks]
