"""Two personal models with different adapters answer the same question in one engine batch.

The adapters are random and stand for trained ones. Run it beside ``make serve``.
"""

import tempfile
from pathlib import Path

import ray

import populace
from populace.adapters.random_adapter import write_random_adapter

QUESTION = "Tell me about the sea in one sentence."


def main() -> None:
    with populace.connect() as population, tempfile.TemporaryDirectory() as folder:
        people: dict[str, populace.ModelHandle] = {}
        for seed, name in enumerate(("ada-two", "grace-two")):
            adapter = write_random_adapter(Path(folder) / name, population.base_directory, seed=seed)
            people[name] = population.create(name, adapter=adapter)
        try:
            pending = {
                name: model.chat.remote(QUESTION, temperature=0, max_tokens=40)
                for name, model in people.items()
            }
            for name, reference in pending.items():
                turn = ray.get(reference)
                print(f"{name} (revision {turn.revision[:12]}, log position {turn.position}): {turn}")
        finally:
            for model in people.values():
                model.erase()


if __name__ == "__main__":
    main()
