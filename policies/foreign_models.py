"""Names that mean another maker's model: a chat that has one was set up for another server.

Such a name creates no personal model by the way. Whoever wants one of that name creates it by hand.
"""

import re

_FAMILIES = (
    "babbage|chatgpt|claude|codellama|codestral|codex|command|computer-use|curie|dall-e|davinci|deepseek|falcon|"
    "gemini|gemma|glm|gpt|granite|grok|kimi|llama|ministral|mistral|mixtral|nova|olmo|omni|palm|phi|qwen|qwq|"
    "smollm|sonar|sora|text|tts|whisper|yi"
)
# One that is a person's name too means a model with what follows: claude-sonnet, gemini-pro, phi3.
_FOREIGN = re.compile(rf"(chat)?gpt|o[1-9]([-_].*)?|({_FAMILIES})[-_0-9].*", re.IGNORECASE)


def is_foreign(name: str) -> bool:
    """Whether the name is made like those of other makers' models."""
    return _FOREIGN.fullmatch(name) is not None
