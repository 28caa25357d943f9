"""The forward pass of a BERT encoder in numpy, with the mean of its last layer as a sentence's vector.

As in Devlin et al. 2018 (arXiv 1810.04805) and, for the mean, Reimers and Gurevych 2019 (arXiv 1908.10084).
Sentences of one length are encoded together, so that nothing is padded.
"""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file  # pyright: ignore[reportUnknownVariableType]
from tokenizers import Tokenizer

from populace.encoder.files import CONFIG, TOKENIZER, WEIGHTS

Floats = npt.NDArray[np.float32]

TOKENS_MAX = 128
"""A longer text is cut: questions, and sentences said in passing, are shorter."""

BATCH = 32


class BertEncoder:
    """Maps sentences to unit vectors; the product of two is their likeness, -1 to 1."""

    def __init__(self, directory: Path) -> None:
        """Load the files, which takes about 0.1 s and as many bytes as the weights have."""
        config: dict[str, Any] = json.loads((directory / CONFIG).read_bytes())
        self._weights: Mapping[str, Floats] = load_file(directory / WEIGHTS)
        self._layers: int = config["num_hidden_layers"]
        self._heads: int = config["num_attention_heads"]
        self._epsilon: float = config["layer_norm_eps"]
        self._tokenizer: Any = Tokenizer.from_file(str(directory / TOKENIZER))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(min(TOKENS_MAX, config["max_position_embeddings"]))

    def vectors(self, texts: Sequence[str]) -> Floats:
        """Return a unit vector for each text, shape (texts, width)."""
        of_length: defaultdict[int, list[int]] = defaultdict(list)
        ids = [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))]
        for place, tokens in enumerate(ids):
            of_length[len(tokens)].append(place)
        width = self._weights["embeddings.LayerNorm.weight"].shape[0]
        made = np.empty((len(ids), width), np.float32)
        for places in of_length.values():
            for start in range(0, len(places), BATCH):
                batch = places[start : start + BATCH]
                mean = self._forward(np.array([ids[place] for place in batch])).mean(axis=1)
                made[batch] = mean / np.linalg.norm(mean, axis=1, keepdims=True)
        return made

    def _forward(self, tokens: npt.NDArray[np.int64]) -> Floats:
        """Return the last layer's outputs, shape (sentences, tokens, width)."""
        of = self._weights
        hidden = of["embeddings.word_embeddings.weight"][tokens]
        hidden = hidden + of["embeddings.position_embeddings.weight"][: tokens.shape[1]]
        hidden = hidden + of["embeddings.token_type_embeddings.weight"][0]
        hidden = self._normalized(hidden, "embeddings.LayerNorm")
        for layer in range(self._layers):
            name = f"encoder.layer.{layer}"
            attended = self._linear(self._attended(hidden, name), f"{name}.attention.output.dense")
            hidden = self._normalized(hidden + attended, f"{name}.attention.output.LayerNorm")
            inner = _gelu(self._linear(hidden, f"{name}.intermediate.dense"))
            hidden = self._normalized(
                hidden + self._linear(inner, f"{name}.output.dense"), f"{name}.output.LayerNorm"
            )
        return hidden

    def _attended(self, hidden: Floats, name: str) -> Floats:
        sentences, tokens, width = hidden.shape
        by_head = (sentences, tokens, self._heads, width // self._heads)
        query, key, value = (
            self._linear(hidden, f"{name}.attention.self.{part}").reshape(by_head).swapaxes(1, 2)
            for part in ("query", "key", "value")
        )
        scores = query @ key.swapaxes(2, 3) / np.float32(np.sqrt(by_head[3]))
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
        scores /= scores.sum(axis=-1, keepdims=True)
        return (scores @ value).swapaxes(1, 2).reshape(hidden.shape)

    def _linear(self, hidden: Floats, name: str) -> Floats:
        # As one product of two matrices: numpy makes one for each sentence otherwise.
        weight, rows = self._weights[f"{name}.weight"], hidden.reshape(-1, hidden.shape[-1])
        return (rows @ weight.T + self._weights[f"{name}.bias"]).reshape(*hidden.shape[:-1], len(weight))

    def _normalized(self, hidden: Floats, name: str) -> Floats:
        centred = hidden - hidden.mean(axis=-1, keepdims=True)
        spread = np.sqrt(np.square(centred).mean(axis=-1, keepdims=True) + np.float32(self._epsilon))
        return centred / spread * self._weights[f"{name}.weight"] + self._weights[f"{name}.bias"]


def _gelu(x: Floats) -> Floats:
    """Gaussian error linear unit, x·Φ(x); the error function is Abramowitz and Stegun's 7.1.26, to 1.5e-7."""
    scaled = np.abs(x) * np.float32(1 / np.sqrt(2))
    t = 1 / (1 + np.float32(0.3275911) * scaled)
    series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    erf = np.copysign(1 - series * np.exp(-np.square(scaled)), x)
    return (x * (1 + erf) / 2).astype(np.float32, copy=False)
