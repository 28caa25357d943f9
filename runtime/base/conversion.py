"""Turn a GGUF into a plain Hugging Face directory, as a program of its own.

    python -m populace.base.conversion GGUF DIRECTORY

A process of its own keeps torch out of the caller, and lets the caller stop it at any point. Each
stage is announced on standard output as one line ``<stage> <fraction done>``.
"""

import importlib
import os
import sys
from pathlib import Path
from typing import Any


def convert(gguf: Path, directory: Path) -> None:
    """Load ``gguf``, dequantise it to bfloat16, and save safetensors, tokenizer and chat template."""
    _announce("load", 0.0)
    # The auto classes are untyped, so the library is used as Any, which saves a page of casts.
    transformers: Any = importlib.import_module("transformers")
    transformers.utils.logging.set_verbosity_error()
    source = {"gguf_file": gguf.name, "local_files_only": True}
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(gguf.parent), **source)
    _announce("load", 0.2)
    model = transformers.AutoModelForCausalLM.from_pretrained(str(gguf.parent), dtype="bfloat16", **source)

    _announce("convert", 0.8)
    # The weights are plain bfloat16 by now, but save_pretrained refuses a model that calls itself quantised.
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.is_quantized = False
    model.hf_quantizer = None

    _announce("save", 0.85)
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    _announce("save", 1.0)


def _announce(stage: str, fraction: float) -> None:
    sys.stdout.write(f"{stage} {fraction}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
    # Interpreter shutdown with torch loaded takes over a second and has nothing left to do.
    sys.stdout.flush()
    os._exit(0)
