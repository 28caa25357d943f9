"""Episodes of personal facts: what people tell an assistant about themselves, and ask it later.

Many attributes, told and asked in many ways, with replies of every kind, chatter in between and facts that
change. A conversation may end after any turn, and what comes next is told in another one.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from populace.learning.memory.episodes import Episode, Question, SaidMessage
from populace.learning.memory.values import Part, ValueOptions, Values

ATTRIBUTES: dict[str, str] = {
    "city": "city",
    "home town": "city",
    "village": "city",
    "country": "country",
    "street": "street",
    "job": "job",
    "company": "company",
    "boss": "person",
    "teacher": "person",
    "doctor": "person",
    "neighbor": "person",
    "hero": "person",
    "best friend": "first",
    "brother": "first",
    "sister": "first",
    "daughter": "first",
    "son": "first",
    "dog": "first",
    "cat": "first",
    "parrot": "first",
    "birthday": "date",
    "wedding day": "date",
    "favorite color": "color",
    "favorite food": "food",
    "favorite drink": "drink",
    "favorite flower": "flower",
    "favorite sport": "sport",
    "favorite game": "game",
    "favorite animal": "animal",
    "favorite music": "music",
    "favorite season": "season",
    "favorite subject": "subject",
    "hobby": "hobby",
    "instrument": "instrument",
    "language": "language",
    "favorite movie": "words",
    "favorite song": "words",
    "favorite book": "words",
    "team": "words",
    "school": "words",
    "band": "words",
    "car": "words",
    "boat": "words",
    "nickname": "words",
    "password": "words",
    "dream": "words",
    "project": "words",
}

TELL = (
    "My {a} is {v}.",
    "{v} is my {a}.",
    "I want you to know that my {a} is {v}.",
    "By the way, my {a} is {v}.",
    "Please remember: my {a} is {v}.",
    "You should know my {a} is {v}.",
    "Let me tell you, my {a} is {v}.",
    "As for my {a}, it is {v}.",
    "Remember that my {a} is {v}.",
    "Just so you know, my {a} is {v}.",
    "For the record, my {a} is {v}.",
    "About my {a}: {v}.",
)
CHANGE = (
    "My {a} is now {v}.",
    "I changed my mind: my {a} is {v}.",
    "Correction: my {a} is {v}.",
    "From now on my {a} is {v}.",
    "That has changed, my {a} is {v} now.",
)
TAKEN_IN = ("Okay.", "Got it.", "Thanks, I will remember.", "Noted.", "I see.", "Good to know.", "Sure.")
REPLIES = (
    "I'm sorry for any confusion, but as a chatbot, I don't have the ability to remember any preferences.",
    "I'm sorry for any misunderstanding, but I can't access personal data unless you share it with me.",
    "I'm so glad to hear that. It's a special part of your life, and I'm always happy to talk about it.",
    "{v} is a wonderful {a}. There is so much to say about it, and I would love to hear more.",
    "{v}! That's great. How did it come to be your {a}?",
    "Thank you for sharing that with me. Is there anything else you want me to know?",
    "{v} is a fascinating choice, with a long history and many people who love it.",
    "That's interesting! Your {a} says a lot about you. I'm here to help with anything you need.",
    "It's a pleasure to meet you. I'm a helpful assistant, and I will keep your {a} in mind.",
    "Your {a} is {v}. Got it, I will remember it.",
    "That sounds lovely. I'm here to assist you with your questions, so feel free to ask.",
    "As an AI, I don't have feelings or a {a}, but I can help you to find out more about {v}.",
    "What can I help you with?",
    "Here are some tips that may help you: first, think about what you want to do next.",
)
"""What small chat models say to a fact. Most are cut somewhere, as a limit of tokens cuts them."""

ASK = (
    "What is my {a}?",
    "Do you remember my {a}?",
    "Tell me my {a}.",
    "Can you say what my {a} is?",
    "Do you know my {a}?",
    "What did I say my {a} is?",
    "Remind me of my {a}.",
)
ANSWER = "Your {a} is {v}."
CHATTER = (
    ("The weather is nice today.", "It is, enjoy it!"),
    ("I had a long day.", "I hope you can rest now."),
    ("How are you?", "I am fine, thank you."),
    ("I am reading now.", "Enjoy your reading."),
    ("Let us talk later.", "Whenever you like."),
    ("That was funny.", "I am glad you liked it."),
    ("I slept well.", "That is good to hear."),
    ("Lunch was great.", "Nice."),
    ("It rains again.", "Take an umbrella with you."),
    ("I am on the train.", "Have a good trip."),
)
GENERAL = (
    "What is the capital of France?",
    "Write a short sentence about the sea.",
    "How many days are in a week?",
    "What is two plus three?",
    "Name a fruit.",
    "Why is the sky blue?",
    "What does a baker do?",
    "Give me a tip for better sleep.",
    "What is water made of?",
    "Say hello in Spanish.",
    "Who wrote Romeo and Juliet?",
    "What is the largest planet?",
    "Explain what a verb is.",
    "Tell me something about cats.",
    "How do plants grow?",
    "What is a bicycle?",
)


@dataclass(frozen=True, slots=True)
class FactsOptions(ValueOptions):
    """How episodes are made. Shares are probabilities; for those of values see ``ValueOptions``.

    An episode has up to ``facts_max`` facts. After a turn the next one is in another conversation with
    ``fresh_share``, and a reply is one of ``REPLIES`` with ``long_share``, else a word or two.
    """

    facts_max: int = 3
    chatter_share: float = 0.15
    change_share: float = 0.15
    general_share: float = 0.1
    fresh_share: float = 0.7
    long_share: float = 0.5


def fact_episodes(
    words: Sequence[str],
    part: Part,
    *,
    seed: int,
    options: FactsOptions | None = None,
    facts: int | None = None,
) -> Iterator[Episode]:
    """Make episodes without end; the same arguments make the same ones. ``facts`` fixes their number."""
    options = options or FactsOptions()
    source = random.Random(f"episodes {part} {seed}")  # noqa: S311 - a corpus, not a secret
    values = Values(words, part, options, seed=seed)
    while True:
        yield _episode(source, values, options, facts or source.randint(1, options.facts_max))


def _episode(source: random.Random, values: Values, options: FactsOptions, facts: int) -> Episode:
    chosen = {name: values.draw(ATTRIBUTES[name]) for name in source.sample(sorted(ATTRIBUTES), facts)}
    said: list[tuple[Sequence[str], str, str]] = [(TELL, name, value) for name, value in chosen.items()]
    if source.random() < options.change_share:
        name = source.choice(sorted(chosen))
        chosen[name] = values.draw(ATTRIBUTES[name])
        said.append((CHANGE, name, chosen[name]))
    turns: list[tuple[str, str]] = []
    for ways, name, value in said:
        reply = (
            _reply(source, name, value) if source.random() < options.long_share else source.choice(TAKEN_IN)
        )
        turns.append((source.choice(ways).format(a=name, v=value), reply))
        if source.random() < options.chatter_share:
            turns.append(source.choice(CHATTER))
    questions = [
        Question(ask=source.choice(ASK).format(a=name), answer=ANSWER.format(a=name, v=value), value=value)
        for name, value in source.sample(sorted(chosen.items()), facts)
    ]
    if source.random() < options.general_share:
        questions.append(Question(ask=source.choice(GENERAL), answer=None))
    messages: list[SaidMessage] = []
    for user, reply in turns:
        fresh = bool(messages) and source.random() < options.fresh_share
        messages.append(SaidMessage(role="user", content=user, fresh=fresh))
        messages.append(SaidMessage(role="assistant", content=reply))
    return Episode(messages=tuple(messages), questions=tuple(questions))


def _reply(source: random.Random, name: str, value: str) -> str:
    words = source.choice(REPLIES).format(a=name, v=value).split()
    return " ".join(words[: source.randint(3, max(3, len(words)))])
