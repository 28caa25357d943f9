"""``adapter_config.json``: the fields of PEFT LoRA adapters that Populace serves, and their meaning.

Both engines must apply an adapter in the same way. A field that one of them ignores or applies differently is
refused here by name, because it would be served wrong.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar, cast

from populace.actors.errors import AdapterInvalid

_Value = TypeVar("_Value", int, float)

CONFIG_BYTES_MAX = 256 * 1024
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_.]{1,200}")
_UNSUPPORTED = {
    "use_dora": "DoRA",
    "modules_to_save": "fully trained modules",
    "lora_bias": "LoRA biases",
    "layer_replication": "replicated layers",
    "layers_pattern": "layer patterns",
    "alora_invocation_tokens": "activated LoRA",
    "trainable_token_indices": "trained token embeddings",
    "target_parameters": "adapters on bare parameters",
    "exclude_modules": "excluded modules",
    "fan_in_fan_out": "transposed weights",
    "megatron_config": "Megatron layers",
    "use_qalora": "QALoRA",
    "use_bdlora": "block-diagonal LoRA",
    "arrow_config": "Arrow routing",
}
# With the other names (PiSSA, OLoRA, CorDA, LoftQ) PEFT changes the base's weights when it loads the adapter.
_HARMLESS_INITIALISATIONS = ("gaussian", "eva", "orthogonal")


@dataclass(frozen=True, slots=True)
class LoraConfig:
    """The fields of a checked ``adapter_config.json`` that determine how the tensors are applied.

    ``layers`` are the layer numbers that may be adapted; None allows all.
    """

    rank: int
    alpha: float
    rank_scaled: bool
    targets: tuple[str, ...]
    layers: frozenset[int] | None
    rank_pattern: Mapping[str, int]
    alpha_pattern: Mapping[str, float]

    @property
    def rank_highest(self) -> int:
        """The largest rank of any layer."""
        return max(self.rank, *self.rank_pattern.values(), 0)

    def rank_of(self, module: str) -> int:
        """Return the rank of a layer by its dotted name."""
        return _matched(self.rank_pattern, module, self.rank)

    def alpha_of(self, module: str) -> float:
        """Return ``lora_alpha`` of a layer by its dotted name."""
        return _matched(self.alpha_pattern, module, self.alpha)

    def scaling_of(self, module: str) -> float:
        """Return the factor of B·A: alpha / rank, or alpha / sqrt(rank) with rsLoRA."""
        rank = self.rank_of(module)
        return self.alpha_of(module) / (math.sqrt(rank) if self.rank_scaled else rank)

    def target_of(self, module: str) -> str | None:
        """Return the entry of ``targets`` that matches this layer by PEFT's rules, or None."""
        layer = re.search(r"\.layers\.(\d+)\.", f".{module}.")
        if self.layers is not None and (layer is None or int(layer[1]) not in self.layers):
            return None
        return next((name for name in self.targets if _names(name, module)), None)


def parse_peft_config(data: bytes, *, rank_max: int) -> LoraConfig:
    """Check and parse an ``adapter_config.json``. Raises ``AdapterInvalid``, which names the field."""
    if len(data) > CONFIG_BYTES_MAX:
        raise AdapterInvalid(f"adapter_config.json is larger than {CONFIG_BYTES_MAX} bytes")
    try:
        loaded: object = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise AdapterInvalid(f"adapter_config.json is not JSON ({error})") from error
    if not isinstance(loaded, dict):
        raise AdapterInvalid("adapter_config.json is not an object")
    fields = cast("dict[str, object]", loaded)
    _check_method(fields)
    config = LoraConfig(
        rank=_integer("r", fields.get("r")),
        alpha=_number("lora_alpha", fields.get("lora_alpha")),
        rank_scaled=fields.get("use_rslora") is True,
        targets=_targets(fields.get("target_modules")),
        layers=_layers(fields.get("layers_to_transform")),
        rank_pattern={name: _integer("rank_pattern", v) for name, v in _pattern("rank_pattern", fields)},
        alpha_pattern={name: _number("alpha_pattern", v) for name, v in _pattern("alpha_pattern", fields)},
    )
    if config.rank_highest > rank_max:
        raise AdapterInvalid(f"its rank {config.rank_highest} is above this engine's limit of {rank_max}")
    return config


def write_peft_config(rank: int, alpha: float, targets: Iterable[str], **more: object) -> bytes:
    """Encode the ``adapter_config.json`` of a plain LoRA adapter; ``more`` has further fields of PEFT."""
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": None,
        "inference_mode": True,
        "r": rank,
        "lora_alpha": alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": sorted(targets),
        **more,
    }
    return (json.dumps(config, indent=2) + "\n").encode()


def _check_method(fields: Mapping[str, object]) -> None:
    if fields.get("peft_type") != "LORA":
        raise AdapterInvalid(f"peft_type is {_short(fields.get('peft_type'))}; only LORA is served")
    if fields.get("task_type") not in (None, "CAUSAL_LM"):
        raise AdapterInvalid(f"task_type is {_short(fields.get('task_type'))}; only CAUSAL_LM is served")
    for field, meaning in _UNSUPPORTED.items():
        if fields.get(field):
            raise AdapterInvalid(f"{field} is set; {meaning} cannot be served")
    if fields.get("bias", "none") != "none":
        raise AdapterInvalid(f"bias is {_short(fields['bias'])}; trained biases cannot be served")
    start = fields.get("init_lora_weights", True)
    if not isinstance(start, bool) and start not in _HARMLESS_INITIALISATIONS:
        raise AdapterInvalid(
            f"init_lora_weights is {_short(start)}, which changes the base's weights; "
            "convert it to a plain LoRA adapter with PEFT"
        )


def _targets(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        raise AdapterInvalid("target_modules is a pattern; list the modules by name")
    names = cast("list[object]", value) if isinstance(value, list) else []
    if not names or not all(isinstance(name, str) and _PLAIN_NAME.fullmatch(name) for name in names):
        raise AdapterInvalid("target_modules is not a list of module names")
    return tuple(sorted(cast("list[str]", names)))


def _layers(value: object) -> frozenset[int] | None:
    if value is None:
        return None
    layers = cast("list[object]", value) if isinstance(value, list) else [value]
    return frozenset(_integer("layers_to_transform", layer, at_least=0) for layer in layers)


def _pattern(field: str, fields: Mapping[str, object]) -> list[tuple[str, object]]:
    """Return the items of a pattern field. PEFT and vLLM run its keys as regular expressions.

    Only plain names are accepted, which match alike in both.
    """
    value = fields.get(field)
    if not value:
        return []
    if not isinstance(value, dict):
        raise AdapterInvalid(f"{field} is not an object")
    items = list(cast("dict[str, object]", value).items())
    for name, _ in items:
        if not _PLAIN_NAME.fullmatch(name):
            raise AdapterInvalid(f"{field} holds {_short(name)}, which is not a plain module name")
    return items


def _names(name: str, module: str) -> bool:
    return module == name or module.endswith("." + name)


def _matched(pattern: Mapping[str, _Value], module: str, default: _Value) -> _Value:
    return next((value for name, value in pattern.items() if _names(name, module)), default)


def _integer(field: str, value: object, *, at_least: int = 1) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < at_least:
        raise AdapterInvalid(f"{field} is {_short(value)}; it must be an integer from {at_least}")
    return value


def _number(field: str, value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < 1_000_000:
        raise AdapterInvalid(f"{field} is {_short(value)}; it must be a number above 0")
    return value


def _short(value: object) -> str:
    return repr(value)[:80]
