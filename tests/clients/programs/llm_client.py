"""The command ``llm`` with its OpenAI plugin, which reads our model from ``extra-openai-models.yaml``."""

import json
import os
import subprocess
import sys
from pathlib import Path

from scenarios import (
    API_KEY,
    BASE_URL,
    FIRST,
    MODEL,
    SECOND,
    SYSTEM,
    TOOL_QUESTION,
    Turns,
    filled,
    run_scenarios,
    scenario,
)

HOME = Path("llm-home")
SHORT = ("-o", "max_tokens", "16", "-o", "temperature", "0")
LONGER = ("-o", "max_tokens", "60", "-o", "temperature", "0")
SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 12}, "colour": {"enum": ["black", "white"]}},
    "required": ["name", "colour"],
    "additionalProperties": False,
}
FUNCTION = """
def get_weather(city: str) -> str:
    "Return the weather of a city."
    return "18 degrees and sunny"
"""


def llm(*arguments: str) -> str:
    """Run the command and return what it printed, without the line's end."""
    ran = subprocess.run(
        [sys.executable, "-m", "llm", *arguments, "--key", API_KEY],
        env={**os.environ, "LLM_USER_PATH": str(HOME.absolute())},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if ran.returncode:
        raise CommandFailed(ran.stderr.strip().removeprefix("Error: "))
    return ran.stdout.removesuffix("\n")


class CommandFailed(Exception):
    """The command ended with an error; ``body`` is where the other clients have the server's words."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.body = {"message": message}


def set_up() -> None:
    """Tell the command of the model under three names: as chats, as texts and as responses."""
    HOME.mkdir(exist_ok=True)
    common = {"model_name": MODEL, "api_base": BASE_URL, "api_key_name": "populace"}
    # JSON is YAML.
    models = [
        common | {"model_id": "chat", "supports_schema": True, "supports_tools": True},
        common | {"model_id": "text", "completion": True},
        common | {"model_id": "responses", "responses": True},
    ]
    (HOME / "extra-openai-models.yaml").write_text(json.dumps(models), encoding="utf-8")


@scenario("a prompt, streamed, and `-c`, which continues it")
def two_turns(turns: Turns) -> None:
    turns.append(filled(llm("-m", "chat", "-s", SYSTEM, FIRST, *SHORT)))
    turns.append(filled(llm("-c", SECOND, *SHORT)))


@scenario("a prompt with `--no-stream`")
def not_streamed(turns: Turns) -> None:
    turns.append(filled(llm("-m", "chat", "--no-stream", FIRST, *SHORT)))


@scenario("`--schema`")
def schema(turns: Turns) -> None:
    text = llm("-m", "chat", "--schema", json.dumps(SCHEMA), FIRST, *LONGER)
    assert sorted(json.loads(text)) == ["colour", "name"], text
    turns.append(text)


@scenario("`--functions`, tools with the choice left to the model")
def tools(turns: Turns) -> None:
    turns.append(filled(llm("-m", "chat", "--functions", FUNCTION, TOOL_QUESTION, *LONGER)))


@scenario("a text completion (`completion: true`)")
def text(turns: Turns) -> None:
    turns.append(filled(llm("-m", "text", "Once upon a time", *SHORT)))


@scenario("a response, and `-c` (`responses: true`); both are sent with `store: false` and leave no turn")
def responses(turns: Turns) -> None:
    filled(llm("-m", "responses", FIRST, *SHORT))
    filled(llm("-c", SECOND, *SHORT))


if __name__ == "__main__":
    set_up()
    run_scenarios()
