"""The forward pass of a BERT encoder in numpy, with the mean of its last layer as a sentence's vector.

As in Devlin et al. 2018 (arXiv 1810.04805) and, for the mean, Reimers and Gurevych 2019 (arXiv 1908.10084).
The rows of all sentences go through the linear layers together, so that the weights are read once, and each
sentence attends to itself.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file  # pyright: ignore[reportUnknownVariableType]
from tokenizers import Tokenizer

from populace.encoder.files import CONFIG, TOKENIZER, WEIGHTS, EncoderInvalid

Floats = npt.NDArray[np.float32]

TOKENS_MAX = 128
"""A longer text is cut: questions, and sentences said in passing, are shorter."""

ROWS_MAX = 1024
"""Sentences of at most this many tokens together are encoded at once: some 30 MB of activations."""

EXPECTED: Mapping[str, str] = {"hidden_act": "gelu", "position_embedding_type": "absolute"}
"""What the configuration says of the encoders that are computed here; absent means this."""


class BertEncoder:
    """Maps sentences to unit vectors; the product of two is their likeness, -1 to 1."""

    def __init__(self, directory: Path) -> None:
        """Load the files, which takes about 0.1 s and as many bytes as the weights have.

        Raises ``EncoderInvalid`` for an encoder that is computed in another way, and what reading the files
        raises.
        """
        config: dict[str, Any] = json.loads((directory / CONFIG).read_bytes())
        for name, expected in EXPECTED.items():
            if config.get(name, expected) != expected:
                raise EncoderInvalid(str(directory), f"its {name} is {config[name]}, and not {expected}")
        self._weights: Mapping[str, Floats] = {
            name: weight.astype(np.float32, copy=False)
            for name, weight in load_file(directory / WEIGHTS).items()
            if weight.dtype.kind == "f"
        }
        self._layers: int = config["num_hidden_layers"]
        self._heads: int = config["num_attention_heads"]
        self._epsilon = np.float32(config["layer_norm_eps"])
        self._tokenizer: Any = Tokenizer.from_file(str(directory / TOKENIZER))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(min(TOKENS_MAX, config["max_position_embeddings"]))
        unknown = getattr(self._tokenizer.model, "unk_token", None)
        self._unknown = None if unknown is None else self._tokenizer.token_to_id(unknown)
        self.vectors(["A sentence."])

    def vectors(self, texts: Sequence[str]) -> Floats:
        """Return a unit vector for each text, shape (texts, width).

        A text with something that the encoder does not know, such as a script without tokens, has zeros.
        """
        ids = [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))]
        made = np.zeros((len(ids), self._width), np.float32)
        batch: list[int] = []
        rows = 0
        for place, tokens in enumerate(ids):
            if self._unknown in tokens:
                continue
            if batch and rows + len(tokens) > ROWS_MAX:
                made[batch] = self._means([ids[one] for one in batch])
                batch, rows = [], 0
            batch.append(place)
            rows += len(tokens)
        if batch:
            made[batch] = self._means([ids[one] for one in batch])
        return made

    @property
    def _width(self) -> int:
        return self._weights["embeddings.LayerNorm.weight"].shape[0]

    def _means(self, sentences: Sequence[Sequence[int]]) -> Floats:
        """Return the mean of the last layer of each sentence, of length one."""
        lengths = np.array([len(tokens) for tokens in sentences])
        starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
        hidden = self._forward(np.concatenate(sentences), starts, lengths)
        means = np.add.reduceat(hidden, starts, axis=0) / lengths[:, None].astype(np.float32)
        return means / np.linalg.norm(means, axis=1, keepdims=True)

    def _forward(
        self, tokens: npt.NDArray[np.int64], starts: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]
    ) -> Floats:
        """Return the last layer's outputs, shape (tokens of all sentences, width)."""
        of = self._weights
        places = np.arange(len(tokens)) - np.repeat(starts, lengths)
        hidden = of["embeddings.word_embeddings.weight"][tokens]
        hidden = hidden + of["embeddings.position_embeddings.weight"][places]
        hidden = hidden + of["embeddings.token_type_embeddings.weight"][0]
        hidden = self._normalized(hidden, "embeddings.LayerNorm")
        spans = [slice(start, start + length) for start, length in zip(starts, lengths, strict=True)]
        for layer in range(self._layers):
            name = f"encoder.layer.{layer}"
            attended = self._linear(self._attended(hidden, spans, name), f"{name}.attention.output.dense")
            hidden = self._normalized(hidden + attended, f"{name}.attention.output.LayerNorm")
            inner = _gelu(self._linear(hidden, f"{name}.intermediate.dense"))
            hidden = self._normalized(
                hidden + self._linear(inner, f"{name}.output.dense"), f"{name}.output.LayerNorm"
            )
        return hidden

    def _attended(self, hidden: Floats, spans: Sequence[slice], name: str) -> Floats:
        by_head = (len(hidden), self._heads, hidden.shape[1] // self._heads)
        query, key, value = (
            self._linear(hidden, f"{name}.attention.self.{part}").reshape(by_head).swapaxes(0, 1)
            for part in ("query", "key", "value")
        )
        query = query / np.float32(np.sqrt(by_head[2]))
        attended = np.empty_like(hidden)
        for span in spans:
            scores = query[:, span] @ key[:, span].swapaxes(1, 2)
            scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
            scores /= scores.sum(axis=-1, keepdims=True)
            attended[span] = (scores @ value[:, span]).swapaxes(0, 1).reshape(-1, hidden.shape[1])
        return attended

    def _linear(self, rows: Floats, name: str) -> Floats:
        return rows @ self._weights[f"{name}.weight"].T + self._weights[f"{name}.bias"]

    def _normalized(self, rows: Floats, name: str) -> Floats:
        centred = rows - rows.mean(axis=-1, keepdims=True)
        spread = np.sqrt(np.square(centred).mean(axis=-1, keepdims=True) + self._epsilon)
        return centred / spread * self._weights[f"{name}.weight"] + self._weights[f"{name}.bias"]


def _gelu(x: Floats) -> Floats:
    """Gaussian error linear unit, x·Φ(x); the error function is Abramowitz and Stegun's 7.1.26, to 1.5e-7."""
    scaled = np.abs(x)
    scaled *= np.float32(1 / np.sqrt(2))
    t = np.float32(1) / (1 + np.float32(0.3275911) * scaled)
    series = t * np.float32(1.061405429)
    for coefficient in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
        series += np.float32(coefficient)
        series *= t
    np.square(scaled, out=scaled)
    np.negative(scaled, out=scaled)
    series *= np.exp(scaled, out=scaled)
    erf = np.copysign(1 - series, x)
    erf += 1
    erf *= x
    erf *= np.float32(0.5)
    return erf
