# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# transformers' tokenizers are partly untyped.
"""The vocabulary for values: the words that a base's tokenizer encodes as one token."""

from pathlib import Path
from typing import Any, cast

from transformers import AutoTokenizer

LETTERS_MIN = 3


def words_of(base_directory: Path) -> list[str]:
    """List the ASCII words of at least ``LETTERS_MIN`` letters that are one token with the space before them.

    They are in alphabetical order.
    """
    tokenizer: Any = AutoTokenizer.from_pretrained(str(base_directory), local_files_only=True)
    space = str(tokenizer.convert_ids_to_tokens(tokenizer.encode(" a", add_special_tokens=False))[0])[:-1]
    words = {
        token.removeprefix(space)
        for token in cast("dict[str, int]", tokenizer.get_vocab())
        if space and token.startswith(space)
    }
    return sorted(word for word in words if len(word) >= LETTERS_MIN and word.isascii() and word.isalpha())
