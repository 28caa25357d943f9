"""What README and the longer documents show runs as it stands there, against a real service.

A reader of README meets the default base: the replies that it shows are those that come.

``tests/runtime/gateway/test_documents.py`` has the others.
"""

import json
from pathlib import Path

import pytest

from tests.documents import WHOLE, blocks_of, printed_by
from tests.end_to_end.served import Served

pytestmark = [pytest.mark.engine, pytest.mark.ray]

LONG = [
    pytest.param(document, marks=pytest.mark.release("documents"))
    for document in WHOLE
    if document != "README.md"
]
"""Those that train, which takes minutes."""

PROGRAM = """
import ast, asyncio, inspect, json, shlex, subprocess, sys
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
    if block.startswith("$ "):
        for line in block.splitlines():
            if line.startswith("$ populace "):
                words = shlex.split(line.removeprefix("$ populace "), comments=True)
                sys.stdout.flush()
                subprocess.run([sys.executable, "-m", "populace", *words], check=True)
        continue
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

SAID = {"docs/fine-tuning.md": "Arr"}
"""What is in that which the document's program prints, besides the lines that the document shows."""


@pytest.mark.parametrize("document", ["README.md", *LONG])
def test_what_a_document_shows_runs_and_prints_what_it_shows(
    served: Served, document: str, tmp_path: Path
) -> None:
    program = tmp_path / "reader.py"
    program.write_text(PROGRAM)

    blocks = blocks_of(document, served.url, served.key, "python|console")
    reading = json.dumps([blocks, served.url, served.key, TURNS.get(document, 0)])
    done = served.run(str(program), reading)
    for name in ("ada", "ben", "cyd", "marta"):
        served.call("DELETE", f"/v1/personal-models/{name}")

    assert done.stdout.endswith("read to the end\n"), done.stderr[-3000:]
    assert SAID.get(document, "") in done.stdout
    printed = [line.strip() for line in done.stdout.splitlines()]
    assert [line for line in printed_by(blocks) if line.strip() not in printed] == [], done.stdout
