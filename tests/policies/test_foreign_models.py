"""A chat with a name of another maker's model creates nobody; with a person's name it may."""

import pytest

from populace.policies.foreign_models import is_foreign


@pytest.mark.parametrize(
    "name",
    [
        *("gpt", "gpt-4", "gpt-4o-mini", "gpt4", "chatgpt", "chatgpt-4o-latest", "o1", "o3-mini", "o4_mini"),
        *(
            "claude-3-5-sonnet",
            "claude3",
            "gemini-pro",
            "gemma-2b",
            "gemma2",
            "llama3",
            "llama-3-8b",
            "mistral-7b",
        ),
        *(
            "qwen2-instruct",
            "deepseek-chat",
            "phi3",
            "phi-4",
            "grok-2",
            "command-r-plus",
            "smollm2-135m-instruct",
        ),
        *("text-embedding-3-small", "text-embedding-ada-002", "text-davinci-003", "davinci-002", "whisper-1"),
        *("tts-1-hd", "dall-e-3", "omni-moderation-latest", "codex-mini", "GPT-4"),
    ],
)
def test_a_name_of_another_makers_model_is_recognised(name: str) -> None:
    assert is_foreign(name)


@pytest.mark.parametrize(
    "name",
    [
        *(
            "ada",
            "alice",
            "bob-2",
            "user_17",
            "team-support",
            "claude",
            "gemini",
            "phi",
            "sora",
            "mistral",
            "nova",
        ),
        *(
            "o",
            "oskar",
            "o12x",
            "olga1",
            "gptess",
            "texter",
            "phil",
            "claudette",
            "llamas",
            "commander",
            "yin",
        ),
        *("2026-12-03", "0f3a9c", "population-1", "text"),
    ],
)
def test_a_persons_name_is_not(name: str) -> None:
    assert not is_foreign(name)
