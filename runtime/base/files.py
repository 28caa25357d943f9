"""A base model's directory: the files that it must have, and the fingerprint that names it.

The fingerprint is the SHA-256 of everything that decides which tokens the base produces, and of
nothing else, so that the same weights in another sharding keep their name. Each part is fed as its
label, then its length as 8 little-endian bytes, then its bytes:

1. every tensor of every ``*.safetensors`` file, in the order of the tensor names: label
   ``tensor <name> <dtype> <shape>``, its raw bytes;
2. label ``config``: ``config.json`` without ``VOLATILE_CONFIG_KEYS``, as JSON with sorted keys and no spaces;
3. label ``tokenizer <file>``: each of ``TOKENIZER_FILES`` that is there, byte for byte;
4. label ``chat_template``: ``chat_template.jinja``, else that entry of ``tokenizer_config.json``, else empty.
"""

import hashlib
import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

from populace.storage.records.errors import PopulaceError

CONTEXT_TOKENS_UNSTATED = 2048
"""Context length assumed for architectures that state no limit (their attention has none)."""

VOLATILE_CONFIG_KEYS = frozenset(
    {
        "_model_name_or_path",
        "_name_or_path",
        "architectures",
        "dtype",
        "torch_dtype",
        "transformers_version",
        "use_cache",
    }
)
NEEDED = ("*.safetensors", "*.json", "*.jinja", "tokenizer.model", "merges.txt")
"""The names of a base's files. Others may lie beside them, pickled weights for example, and are not read."""

TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "merges.txt")
HASH_CHUNK_BYTES = 8 * 2**20
SAFETENSORS_HEADER_BYTES_MAX = 100_000_000


class BaseInvalid(PopulaceError):
    """The base model is missing, incomplete, or not a causal language model."""

    code = "base_invalid"
    template = "The base model {base} cannot be used: {reason}."

    base: str
    reason: str


@dataclass(frozen=True, slots=True)
class BaseModelFiles:
    """A base model on disk, ready to be loaded by an engine.

    ``context_tokens`` is the context length that the model was made for; serving may use less. Without a chat
    template the base completes text but cannot chat.
    """

    directory: Path
    name: str
    fingerprint: str
    context_tokens: int
    has_chat_template: bool = True


class StoredTensor(NamedTuple):
    """A tensor of a safetensors file: its name, what the fingerprint says of it, and where its bytes are."""

    name: str
    label: str
    path: Path
    offset: int
    length: int
    dtype: str
    shape: tuple[int, ...]


def validate_base(directory: Path) -> None:
    """Refuse a directory that is not a causal LM with safetensors weights and a tokenizer.

    Reads names and ``config.json`` only, and imports transformers (seconds) for the list of architectures.
    """
    config = read_config(directory)
    _require_weights(directory)
    if not any((directory / name).is_file() for name in ("tokenizer.json", "tokenizer.model", "vocab.json")):
        raise BaseInvalid(str(directory), "it has no tokenizer (tokenizer.json)")
    _require_causal_lm(directory, config)


def read_config(directory: Path) -> dict[str, Any]:
    """Read ``config.json``; a directory without one is not a model."""
    if not directory.is_dir():
        raise BaseInvalid(str(directory), "there is no such directory")
    path = directory / "config.json"
    if not path.is_file():
        raise BaseInvalid(str(directory), "it has no config.json: not a Hugging Face model directory")
    return _read_object(path, directory)


def context_tokens_of(config: Mapping[str, Any]) -> int:
    """Return the context length in tokens that the architecture was made for."""
    nested = config.get("text_config")
    places = (config, cast(Mapping[str, Any], nested)) if isinstance(nested, dict) else (config,)
    for place in places:
        for key in ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length"):
            if isinstance(tokens := place.get(key), int) and tokens > 0:
                return tokens
    return CONTEXT_TOKENS_UNSTATED


def chat_template_of(directory: Path) -> str | None:
    """Read the chat template, from its own file or from the tokenizer's configuration."""
    template = directory / "chat_template.jinja"
    if template.is_file():
        return template.read_text(encoding="utf-8")
    tokenizer_config = directory / "tokenizer_config.json"
    if not tokenizer_config.is_file():
        return None
    # A list of named templates is legal too; only its exact content matters here.
    found = _read_object(tokenizer_config, directory).get("chat_template")
    return found if isinstance(found, str) or found is None else json.dumps(found, sort_keys=True)


def needed_files(directory: Path) -> list[Path]:
    """List the files that loading the base reads, sorted by name."""
    found = {path for pattern in NEEDED for path in directory.glob(pattern) if path.is_file()}
    return sorted(found)


def weight_files(directory: Path) -> list[Path]:
    """List the safetensors files, sorted by name."""
    return sorted(directory.glob("*.safetensors"))


def fingerprint(directory: Path) -> str:
    """Compute the fingerprint that the module describes. Reads every weight: about 1 s for each GB."""
    digest = hashlib.sha256()
    for tensor in sorted(stored_tensors(directory)):
        _feed_label(digest, f"tensor {tensor.label}", tensor.length)
        with tensor.path.open("rb") as file:
            file.seek(tensor.offset)
            _feed_exactly(digest, file, tensor.length)
    config = {key: value for key, value in read_config(directory).items() if key not in VOLATILE_CONFIG_KEYS}
    _feed(digest, "config", json.dumps(config, sort_keys=True, separators=(",", ":")).encode())
    for name in TOKENIZER_FILES:
        if (path := directory / name).is_file():
            _feed(digest, f"tokenizer {name}", path.read_bytes())
    _feed(digest, "chat_template", (chat_template_of(directory) or "").encode())
    return digest.hexdigest()


def _require_weights(directory: Path) -> None:
    if weight_files(directory):
        return
    pickled = sorted(path.name for pattern in ("*.bin", "*.pt", "*.pth") for path in directory.glob(pattern))
    if pickled:
        reason = f"its weights are pickles ({pickled[0]}), which can run code when loaded"
        raise BaseInvalid(str(directory), f"{reason}; convert them to safetensors")
    raise BaseInvalid(str(directory), "it has no *.safetensors weights")


def _require_causal_lm(directory: Path, config: Mapping[str, Any]) -> None:
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    known: set[str] = set()
    for name in cast(Mapping[str, str | tuple[str, ...]], MODEL_FOR_CAUSAL_LM_MAPPING_NAMES).values():
        known.update((name,) if isinstance(name, str) else name)
    stated = config.get("architectures")
    architectures = [str(name) for name in cast(list[object], stated)] if isinstance(stated, list) else []
    if not known.intersection(architectures):
        named = ", ".join(architectures) or f"model type {config.get('model_type')}"
        raise BaseInvalid(str(directory), f"{named} is not a causal LM")


def stored_tensors(directory: Path) -> Iterator[StoredTensor]:
    """Read where each tensor of a base lies, of all its files. Raises ``BaseInvalid``."""
    for path in weight_files(directory):
        yield from _tensors(path, directory)


def _tensors(path: Path, directory: Path) -> Iterator[StoredTensor]:
    """Read where each tensor of a safetensors file lies: 8 bytes of header length, JSON, then the data."""
    try:
        with path.open("rb") as file:
            (header_bytes,) = struct.unpack("<Q", file.read(8))
            if header_bytes > SAFETENSORS_HEADER_BYTES_MAX:
                raise BaseInvalid(str(directory), f"{path.name} claims a header of {header_bytes} bytes")
            header = json.loads(file.read(header_bytes))
            for name, entry in header.items():
                if name == "__metadata__":
                    continue
                begin, end = entry["data_offsets"]
                dtype, shape = entry["dtype"], entry["shape"]
                label, offset = f"{name} {dtype} {shape}", 8 + header_bytes + begin
                yield StoredTensor(name, label, path, offset, end - begin, dtype, tuple(shape))
    except (struct.error, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BaseInvalid(str(directory), f"{path.name} is not a safetensors file ({error})") from error


def _feed(digest: "hashlib._Hash", label: str, content: bytes) -> None:
    _feed_label(digest, label, len(content))
    digest.update(content)


def _feed_label(digest: "hashlib._Hash", label: str, length: int) -> None:
    digest.update(label.encode())
    digest.update(length.to_bytes(8, "little"))


def _feed_exactly(digest: "hashlib._Hash", file: BinaryIO, length: int) -> None:
    left = length
    while left > 0:
        chunk = file.read(min(left, HASH_CHUNK_BYTES))
        if not chunk:
            raise BaseInvalid(file.name, f"the file ends {left} bytes before its last tensor does")
        digest.update(chunk)
        left -= len(chunk)


def _read_object(path: Path, directory: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise BaseInvalid(str(directory), f"{path.name} is not JSON ({error})") from error
    if not isinstance(content, dict):
        raise BaseInvalid(str(directory), f"{path.name} is not a JSON object")
    return cast(dict[str, Any], content)
