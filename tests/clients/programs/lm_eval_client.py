"""lm-eval's ``local-completions`` on tasks made here: nothing is fetched from a hub."""

import json
import os
from pathlib import Path
from typing import Any

from lm_eval import simple_evaluate
from lm_eval.tasks import TaskManager
from scenarios import BASE_URL, MODEL, Turns, filled, run_scenarios, scenario

ITEMS = 10
FOLDER = Path("tasks")
COLOURS = ["red", "green", "blue", "white"]


def set_up() -> None:
    """Write ten questions, and a task of each kind over them."""
    FOLDER.mkdir(exist_ok=True)
    items = [
        {"question": f"Ada paints {n} walls in", "choices": COLOURS, "answer": n % 4} for n in range(ITEMS)
    ]
    data = FOLDER / "items.jsonl"
    data.write_text("".join(json.dumps(item) + "\n" for item in items), encoding="utf-8")
    task = {
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(data.absolute())}},
        "test_split": "test",
        "doc_to_text": "{{question}}",
        "num_fewshot": 0,
        "metadata": {"version": 1},
    }
    choice = task | {
        "task": "own_choice",
        "output_type": "multiple_choice",
        "doc_to_choice": "choices",
        "doc_to_target": "answer",
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    }
    written = task | {
        "task": "own_text",
        "output_type": "generate_until",
        "doc_to_target": "{{choices[answer]}}",
        "generation_kwargs": {"until": ["\n"], "max_gen_toks": 8, "temperature": 0.0, "do_sample": False},
        "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
    }
    # JSON is YAML.
    for kind in (choice, written):
        (FOLDER / f"{kind['task']}.yaml").write_text(json.dumps(kind), encoding="utf-8")


def evaluate(task: str) -> list[dict[str, Any]]:
    """Run one task and return what lm-eval keeps of each item."""
    evaluated: Any = simple_evaluate(
        model="local-completions",
        model_args={
            "model": MODEL,
            "base_url": f"{BASE_URL}/completions",
            "tokenizer_backend": "huggingface",
            "tokenizer": os.environ["TOKENIZER"],
            "num_concurrent": 1,
            "max_retries": 1,
        },
        tasks=[task],
        task_manager=TaskManager(include_path=str(FOLDER.absolute()), include_defaults=False),
        batch_size=4,
        bootstrap_iters=0,
    )
    samples = evaluated["samples"][task]
    assert len(samples) == ITEMS
    return samples


@scenario("multiple choice, ten items, by the log probabilities of prompts as token ids")
def choice(turns: Turns) -> None:
    for sample in evaluate("own_choice"):
        chances = [float(chance) for chance, _ in sample["filtered_resps"]]
        assert len(chances) == len(COLOURS)
        assert all(chance < 0 for chance in chances), chances


@scenario("generated answers, ten items, from prompts as token ids")
def written(turns: Turns) -> None:
    filled("".join(sample["resps"][0][0] for sample in evaluate("own_text")))


if __name__ == "__main__":
    set_up()
    run_scenarios()
