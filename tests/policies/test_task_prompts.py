"""Front ends' task prompts, as captured: the default templates, filled in as the front ends fill them."""

import pytest

from populace.policies.task_prompts import TASK_PROMPTS, task_of

TITLE = """### Task:
Generate a concise, 3-5 word title with an emoji summarizing the chat history.
### Guidelines:
- The title should clearly represent the main theme or subject of the conversation.
### Output:
JSON format: { "title": "your concise title here" }
### Chat History:
<chat_history>
USER: My dog is called Bruno.
ASSISTANT: What a nice name.
</chat_history>"""

TAGS = """### Task:
Generate 1-3 broad tags categorizing the main themes of the chat history, along with 1-3 more specific \
subtopic tags.

### Guidelines:
- Start with high-level domains (e.g. Science, Technology, Philosophy, Arts, Politics, Business, Health)"""

FOLLOW_UPS = """### Task:
Suggest 3-5 relevant follow-up questions or prompts that the user might naturally ask next in this \
conversation \
as a **user**, based on the chat history, to help continue or deepen the discussion.
### Guidelines:"""

FOLLOW_UPS_2026 = """### Task:
Predict 3-5 useful messages this user might naturally send next to advance their current objective.
### Guidelines:
- Write from the user's point of view, directed to the assistant."""

COMPACTION = """### Task:
Summarize the conversation history that will be compacted out of the active chat context.

### Instructions:
- Preserve key decisions, user preferences, and constraints."""

QUERIES = """### Task:
Analyze the chat history to determine the necessity of generating search queries, in the given language. By \
default, **prioritize generating 1-3 broad and relevant search queries**"""

AUTOCOMPLETION = """### Task:
You are an autocompletion system. Continue the text in `<text>` based on the **completion type** in \
`<type>` and \
the given language.  \n\n### **Instructions**:"""

TITLE_2026 = """### Task:
Generate a concise title summarizing the chat history.
### Guidelines:
- The title should clearly represent the main theme or subject of the conversation.
- Keep it short: 2-4 words is best."""

EMOJI = """Your task is to reflect the speaker's likely facial expression through a fitting emoji. Interpret \
emotions from the message and reflect their facial expression using fitting, diverse emojis.

Message: ```I am happy.```"""

MERGE = """You have been provided with a set of responses from various models to the latest user query: "Hi."

Your task is to synthesize these responses into a single, high-quality response."""

LIBRECHAT_COMPLETION = """Provide a concise, 5-word-or-less title for the conversation, using title case \
conventions. Only return the title itself.

Conversation:
User: My dog is called Bruno.
AI: What a nice name."""

LIBRECHAT_STRUCTURED = """Analyze this conversation and provide:
1. The detected language of the conversation
2. A concise title in the detected language (5 words or less, no punctuation or quotation)

User: My dog is called Bruno."""

SUMMARY = """Ignore previous instructions. Summarize the most important facts and events in the \
story so far. If a \
summary already exists in your memory, use that as a base and expand with new facts. Limit the \
summary to 200 \
words or less. Your response should include nothing but the summary."""

EXPRESSION = """Ignore previous instructions. Classify the emotion of the last message. Output just \
one word, e.g. \
"joy" or "anger". Choose only one of the following labels: admiration, amusement"""

IMPERSONATION = """[Write your next reply from the point of view of Ada, using the chat history so far as a \
guideline for the writing style of Ada. Don't write as Bot or system. Don't describe actions of Bot.]"""

IMAGE = """### Task:
Generate a detailed prompt for am image generation task based on the given language and context. \
Describe the \
image as if you were explaining it to someone who cannot see it."""

TOOLS = """Available Tools: [{"name": "clock"}]

Your task is to choose and return the correct tool(s) from the list of available tools based on the query.

- If no tools match the query, return an empty array:
   {
     "tool_calls": []
   }"""

RAG = """### Task:
Respond to the user query using the provided context, incorporating inline citations in the format \
[id] **only \
when the <source> tag includes an explicit id attribute** (e.g., <source id="1">).

### Guidelines:
- If you don't know the answer, clearly state that.

<context>
<source id="1">My dog is called Bruno.</source>
</context>

Which dog is mine?"""

CAPTURED = [
    ("open-webui:title", TITLE),
    ("open-webui:title", TITLE_2026),
    ("open-webui:tags", TAGS),
    ("open-webui:follow-ups", FOLLOW_UPS),
    ("open-webui:follow-ups", FOLLOW_UPS_2026),
    ("open-webui:summary", COMPACTION),
    ("open-webui:queries", QUERIES),
    ("open-webui:image-prompt", IMAGE),
    ("open-webui:autocompletion", AUTOCOMPLETION),
    ("open-webui:emoji", EMOJI),
    ("open-webui:merge", MERGE),
    ("librechat:title", LIBRECHAT_COMPLETION),
    ("librechat:title", LIBRECHAT_STRUCTURED),
    ("sillytavern:summary", SUMMARY),
    ("sillytavern:summary", "[Pause your roleplay. Summarize the most important facts and events so far.]"),
    ("sillytavern:expression", EXPRESSION),
    ("sillytavern:image-prompt", "[Pause your roleplay and provide a detailed description of Bot's looks.]"),
    (
        "sillytavern:image-prompt",
        "[Pause your roleplay. Your next response must be formatted as a single comma-delimited list.]",
    ),
    ("sillytavern:impersonation", IMPERSONATION),
]


@pytest.mark.parametrize(("task", "prompt"), CAPTURED)
def test_a_captured_prompt_is_recognised_alone_and_after_the_chat(task: str, prompt: str) -> None:
    chat = [("system", "You are Bot."), ("user", "Hi."), ("assistant", "Hello.")]

    assert task_of([("user", prompt)]) == task
    assert task_of([*chat, ("user", prompt)]) == task
    assert task_of([*chat, ("system", f"\n{prompt}")]) == task


def test_every_prompt_that_is_known_was_captured() -> None:
    recognised = {
        beginning
        for _, beginning in TASK_PROMPTS
        for _, prompt in CAPTURED
        if " ".join(prompt.split()).startswith(beginning)
    }

    assert recognised == {beginning for _, beginning in TASK_PROMPTS}


def test_the_choice_of_tools_is_recognised_by_its_system_message_and_its_query() -> None:
    query = ("user", 'Query: History:\nUSER: """Hi."""\nQuery: What time is it?')

    assert task_of([("system", TOOLS), query]) == "open-webui:tools"
    assert task_of([("system", TOOLS), ("user", "What time is it?")]) is None
    assert task_of([("system", "You are Bot."), query]) is None


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [("user", "")],
        [("user", "Suggest a title for my novel.")],
        [("user", "### Task:\nWrite a poem about the sea.")],
        [("user", RAG)],
        [("system", RAG), ("user", "Which dog is mine?")],
        [("user", f"What does this prompt do?\n\n{TITLE}")],
        [("user", TITLE), ("assistant", "Bruno")],
        [("user", TITLE), ("assistant", "Bruno"), ("user", "Thanks.")],
        [("system", SUMMARY), ("user", "Hi.")],
        [("assistant", TITLE)],
    ],
)
def test_what_a_person_says_is_no_task(messages: list[tuple[str, str]]) -> None:
    assert task_of(messages) is None
