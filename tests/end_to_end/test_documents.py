"""What README and the documents show in Python runs as it stands there, against a real service."""

import json
import re
from pathlib import Path

import pytest

from tests.end_to_end.served import Served

pytestmark = [pytest.mark.engine, pytest.mark.ray, pytest.mark.release("documents")]

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    str(path.relative_to(ROOT))
    for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"))
    if "\n```python\n" in path.read_text(encoding="utf-8")
)

PROGRAM = """
import ast, asyncio, inspect, json, sys
import openai, populace

blocks, url, key, turns = json.loads(sys.argv[1])
population = populace.connect()
ada = population.create("ada", exist_ok=True)
for number in range(turns):
    ada.chat(f"My password is tulip{number}.", max_tokens=4)
for name in ("ben", "cyd"):
    population.create(name, exist_ok=True).share("votes")
names = {"ada": ada, "client": openai.OpenAI(base_url=url + "/v1", api_key=key)}
for block in blocks:
    # Each block finds an open population, as one does who goes on reading.
    with populace.connect() as names["population"]:
        names["ada"] = names["population"].model("ada")
        code = compile(block, "document", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        made = eval(code, names)
        if inspect.iscoroutine(made):
            asyncio.run(made)
population.close()
print("read to the end")
"""

TURNS = {"docs/memory.md": 10}
"""Documents that speak of a model that was talked to for a while."""


LONG = ("docs/fine-tuning.md",)
"""What trains for some minutes; ``tests/clients/programs/openai_client.py`` does the same."""


@pytest.mark.parametrize(
    "document",
    [pytest.param(one, marks=[pytest.mark.release("documents")] if one in LONG else []) for one in DOCUMENTS],
)
def test_what_a_document_shows_in_python_runs(served: Served, document: str, tmp_path: Path) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    told = [
        block.replace("http://127.0.0.1:8000", served.url).replace("populace_…", served.key)
        for block in blocks
    ]
    program = tmp_path / "reader.py"
    program.write_text(PROGRAM)

    reading = json.dumps([told, served.url, served.key, TURNS.get(document, 0)])
    done = served.run(str(program), reading)
    for name in ("ada", "ben", "cyd"):
        served.call("DELETE", f"/v1/personal-models/{name}")

    assert done.stdout.endswith("read to the end\n"), done.stderr[-3000:]
