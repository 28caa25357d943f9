# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportPrivateUsage=false
# transformers compiles chat templates in an environment of its own, which it does not publish.
"""Renders a chat template with marks at the control tokens that it writes itself.

Who wrote a token cannot be seen in what a template rendered. So its own strings, and the names of special
tokens that it is given, are rendered with marks in place of the control tokens in them, while what people
wrote goes in and comes out as it is. Where a template looks for a token in a message, to leave out what a
model thought for example, it looks for the token and not for its mark.
"""

import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from jinja2 import Template, nodes
from transformers.utils.chat_template_utils import _compile_jinja_template

from populace.engines.control_tokens import ControlTokens

LOOKS = frozenset(
    {
        *("count", "endswith", "find", "index", "lstrip", "partition", "removeprefix", "removesuffix"),
        *("replace", "rfind", "rindex", "rpartition", "rsplit", "rstrip", "split", "startswith", "strip"),
    }
)
"""The methods of strings, and the filters, whose first argument is looked for in the text."""

_compiled = cast("Callable[[str], Template]", _compile_jinja_template)


class MarkedTemplate:
    """A chat template of which ``render`` marks the control tokens. Any thread may use it."""

    def __init__(self, source: str, control: ControlTokens, special_tokens: Mapping[str, str]) -> None:
        """``special_tokens`` are the tokenizer's own variables of the template, by name."""
        self._control = control
        self._variables = {name: control.marked(token) for name, token in special_tokens.items()}
        # A name that no caller's variable has.
        self._unmarked = f"unmarked_{secrets.token_hex(8)}"
        environment = _compiled(source).environment
        tree = environment.parse(source)
        for literal in tree.find_all((nodes.Const, nodes.TemplateData)):
            if isinstance(literal, nodes.TemplateData):
                literal.data = control.marked(literal.data)
            elif isinstance(literal.value, str):
                literal.value = control.marked(literal.value)
        for node in list(tree.find_all((nodes.Compare, nodes.Call, nodes.Filter))):
            self._look_unmarked(node)
        tree.set_environment(environment)
        # jinja2 takes a tree where its annotation says a string's source or one.
        self._template = environment.from_string(tree, globals={self._unmarked: self._without_marks})

    def render(self, conversation: Sequence[Mapping[str, Any]], template: Mapping[str, Any]) -> str:
        """Render as ``apply_chat_template`` does; raises what the template raises."""
        given = {"tools": None, "documents": None, **self._variables, **template}
        return self._template.render(messages=conversation, add_generation_prompt=True, **given)

    def _look_unmarked(self, node: nodes.Node) -> None:
        if isinstance(node, nodes.Compare):
            node.expr = self._looking(node.expr)
            for operand in node.ops:
                operand.expr = self._looking(operand.expr)
        elif isinstance(node, nodes.Filter):
            if node.name in LOOKS and node.args:
                node.args[0] = self._looking(node.args[0])
        elif isinstance(node, nodes.Call):
            called = node.node
            if isinstance(called, nodes.Getattr) and called.attr in LOOKS and node.args:
                node.args[0] = self._looking(node.args[0])

    def _looking(self, expression: nodes.Expr) -> nodes.Expr:
        named = nodes.Name(self._unmarked, "load", lineno=expression.lineno)
        return nodes.Call(named, [expression], [], None, None, lineno=expression.lineno)

    def _without_marks(self, value: object) -> object:
        if isinstance(value, str):
            return self._control.unmarked(value)
        if isinstance(value, (list, tuple)):
            items = map(self._without_marks, cast("Sequence[object]", value))
            return tuple(items) if isinstance(value, tuple) else list(items)
        return value
