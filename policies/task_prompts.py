"""Recognises the prompts that chat front ends send by themselves, and that no person said.

Front ends ask the chat's own model for titles, tags, follow-up questions, summaries and completions. Only
what their default templates begin with, before any variable, is recognised: a person hardly begins so, and
a template that was edited is not recognised. Open WebUI's template for answers with documents begins with
``### Task:`` as well; it holds the person's question and is a turn.
"""

from collections.abc import Sequence
from typing import Final

OPEN_WEBUI: Final = "open-webui"
LIBRECHAT: Final = "librechat"
SILLYTAVERN: Final = "sillytavern"

TASK_PROMPTS: Final[Sequence[tuple[str, str]]] = (
    (f"{OPEN_WEBUI}:title", "### Task: Generate a concise title summarizing the chat history."),
    (f"{OPEN_WEBUI}:title", "### Task: Generate a concise, 3-5 word title "),
    (f"{OPEN_WEBUI}:tags", "### Task: Generate 1-3 broad tags categorizing the main themes of the chat "),
    (f"{OPEN_WEBUI}:follow-ups", "### Task: Suggest 3-5 relevant follow-up questions or prompts "),
    (
        f"{OPEN_WEBUI}:follow-ups",
        "### Task: Predict 3-5 useful messages this user might naturally send next ",
    ),
    (
        f"{OPEN_WEBUI}:summary",
        "### Task: Summarize the conversation history that will be compacted out of the active ",
    ),
    (f"{OPEN_WEBUI}:queries", "### Task: Analyze the chat history to determine the necessity of generating "),
    (f"{OPEN_WEBUI}:image-prompt", "### Task: Generate a detailed prompt for am image generation task "),
    (f"{OPEN_WEBUI}:autocompletion", "### Task: You are an autocompletion system. Continue the text in "),
    (f"{OPEN_WEBUI}:emoji", "Your task is to reflect the speaker's likely facial expression through a "),
    (
        f"{OPEN_WEBUI}:merge",
        "You have been provided with a set of responses from various models to the latest ",
    ),
    (f"{LIBRECHAT}:title", "Provide a concise, 5-word-or-less title for the conversation, using title case "),
    (f"{LIBRECHAT}:title", "Analyze this conversation and provide: 1. The detected language of the "),
    (
        f"{SILLYTAVERN}:summary",
        "Ignore previous instructions. Summarize the most important facts and events ",
    ),
    (f"{SILLYTAVERN}:summary", "[Pause your roleplay. Summarize the most important facts and events "),
    (f"{SILLYTAVERN}:expression", "Ignore previous instructions. Classify the emotion of the last message. "),
    (f"{SILLYTAVERN}:image-prompt", "[Pause your roleplay and provide "),
    (
        f"{SILLYTAVERN}:image-prompt",
        "[Pause your roleplay. Your next response must be formatted as a single ",
    ),
    (f"{SILLYTAVERN}:impersonation", "[Write your next reply from the point of view of "),
)
"""Each task's name, and what its prompt begins with; any white space stands for one space."""

_READ_MAX = 512
"""Characters of a message that are looked at; a prompt is recognised by fewer."""

_TOOL_CHOICE = ("Available Tools: ", "Query: ")
"""Open WebUI's choice of tools: how its system message and its user's message begin."""


def task_of(messages: Sequence[tuple[str, str]]) -> str | None:
    """Name the task whose prompt the last of the messages is, like ``open-webui:title``; None if it is none.

    Each message is its role and its text. An assistant's message is none.
    """
    if not messages or messages[-1][0] == "assistant":
        return None
    last = _beginning(messages[-1][1])
    for task, prompt in TASK_PROMPTS:
        if last.startswith(prompt):
            return task
    first_role, first = messages[0]
    chooses_tools = first_role == "system" and _beginning(first).startswith(_TOOL_CHOICE[0])
    if chooses_tools and last.startswith(_TOOL_CHOICE[1]) and '"tool_calls"' in first:
        return f"{OPEN_WEBUI}:tools"
    return None


def _beginning(text: str) -> str:
    return " ".join(text[:_READ_MAX].split())
