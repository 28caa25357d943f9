"""A base's chat template says in which format it calls tools."""

import json
from pathlib import Path

import pytest

from populace.base.tool_parser import tool_parser

CASES = [
    ("{% if tools %}<tool_call>{% endif %}", "hermes"),
    ("{% if tools %}<tool_call><function={% endif %}", "qwen3_coder"),
    ("{{ tools }}<|python_tag|>", "llama3_json"),
    ("{{ tools }}", None),
    ("<tool_call>", None),
]


@pytest.mark.parametrize(("template", "parser"), CASES)
def test_the_template_chooses_the_parser(tmp_path: Path, template: str, parser: str | None) -> None:
    inside, beside = tmp_path / "inside", tmp_path / "beside"
    inside.mkdir()
    beside.mkdir()
    (inside / "tokenizer_config.json").write_text(json.dumps({"chat_template": template}))
    (beside / "chat_template.jinja").write_text(template)

    assert tool_parser(inside, None) == tool_parser(beside, None) == parser


def test_a_setting_comes_first(tmp_path: Path) -> None:
    (tmp_path / "chat_template.jinja").write_text(CASES[0][0])

    assert tool_parser(tmp_path, "granite") == "granite"
    assert tool_parser(tmp_path, "none") is None


def test_the_default_base_and_one_without_a_template_choose_no_tools(
    base_files: Path, tmp_path: Path
) -> None:
    assert tool_parser(base_files, None) is None
    assert tool_parser(tmp_path, None) is None
