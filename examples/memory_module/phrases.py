"""The templates of ``facts.py``: how people tell facts and ask for them, and what an assistant replies."""

from typing import NamedTuple

ATTRIBUTES: dict[str, str] = {
    "name": "first",
    "age": "age",
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
    "mother": "first",
    "father": "first",
    "wife": "first",
    "husband": "first",
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
"""The attributes of a person, each with the kind of its values in ``values.py``."""


class Ways(NamedTuple):
    """Templates for telling the value ``{v}`` of the attribute ``{a}``, and for asking for it."""

    tell: tuple[str, ...]
    ask: tuple[str, ...]


ANY = Ways(
    tell=(
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
    ),
    ask=(
        "What is my {a}?",
        "Do you remember my {a}?",
        "Tell me my {a}.",
        "Can you say what my {a} is?",
        "Do you know my {a}?",
        "What did I say my {a} is?",
        "Remind me of my {a}.",
        "What's my {a}?",
        "Please tell me what my {a} is.",
    ),
)

_SOMEONE = Ways(
    tell=("My {a} is called {v}.", "My {a}'s name is {v}.", "I have a {a} named {v}."),
    ask=("What is my {a} called?", "What is my {a}'s name?", "Who is my {a}?"),
)
_FAVORITE = Ways(
    tell=("The {f} that I like best is {v}.", "I love {v} more than any other {f}.", "I like the {f} {v}."),
    ask=("Which {f} do I like best?", "What {f} do I like?", "Which {f} do I love?"),
)

OWN_WAYS: dict[str, Ways] = {
    "name": Ways(("I am {v}.", "Call me {v}.", "I'm {v}, nice to meet you."), ("Who am I?", "Say my name.")),
    "age": Ways(("I am {v} years old.", "I just turned {v}."), ("How old am I?",)),
    "city": Ways(("I live in {v}.", "My home is in {v}."), ("Where do I live?", "Where is my home?")),
    "home town": Ways(("I grew up in {v}.", "I was born in {v}."), ("Where did I grow up?",)),
    "country": Ways(("I come from {v}.",), ("Where do I come from?", "Which country am I from?")),
    "street": Ways(("I live on {v}.",), ("Which street do I live on?",)),
    "job": Ways(("I work as a {v}.", "I am a {v}."), ("What do I do for a living?", "What do I work as?")),
    "company": Ways(("I work for {v}.", "I work at {v}."), ("Who do I work for?", "Where do I work?")),
    "boss": Ways(("I report to {v}.",), ("Who do I report to?", "Who is my boss?")),
    "teacher": Ways(("I am taught by {v}.",), ("Who teaches me?", "Who is my teacher?")),
    "doctor": Ways(("When I am ill I see {v}.",), ("Who do I see when I am ill?", "Who is my doctor?")),
    "neighbor": Ways(("{v} lives next door.",), ("Who lives next door?", "Who is my neighbor?")),
    "hero": Ways(("I look up to {v}.",), ("Who do I look up to?", "Who is my hero?")),
    "birthday": Ways(("I was born on {v}.",), ("When was I born?", "When is my birthday?")),
    "wedding day": Ways(("I got married on {v}.",), ("When did I get married?",)),
    "favorite food": Ways(("I love to eat {v}.",), ("What do I love to eat?", "What do I like to eat?")),
    "favorite drink": Ways(("I love to drink {v}.",), ("What do I love to drink?",)),
    "hobby": Ways(("In my free time I enjoy {v}.",), ("What do I enjoy in my free time?",)),
    "instrument": Ways(("I play the {v}.",), ("What do I play?", "Which instrument do I play?")),
    "language": Ways(("I speak {v}.",), ("Which language do I speak?", "What do I speak?")),
    "team": Ways(("I am a fan of {v}.",), ("Which team am I a fan of?",)),
    "school": Ways(("I went to school at {v}.",), ("Where did I go to school?",)),
    "band": Ways(("I listen to {v} all day.",), ("Which band do I listen to?",)),
    "car": Ways(("I drive a {v}.",), ("What do I drive?", "Which car do I drive?")),
    "boat": Ways(("I sail a {v}.",), ("What do I sail?",)),
    "nickname": Ways(("My friends call me {v}.",), ("What do my friends call me?",)),
    "dream": Ways(("I dream of {v}.",), ("What do I dream of?",)),
    "project": Ways(("I am working on {v}.",), ("What am I working on?",)),
}
"""Templates for single attributes; ``own_ways`` has those for groups of attributes."""


def own_ways(attribute: str) -> Ways:
    """Return the templates of the attribute or of its group, or ``ANY`` if there are none."""
    ways = OWN_WAYS.get(attribute)
    if ways is None and attribute.startswith("favorite "):
        ways = _FAVORITE
    elif ways is None and ATTRIBUTES.get(attribute) == "first":
        ways = _SOMEONE
    return ways or ANY


def filled(phrase: str, attribute: str, value: str = "") -> str:
    """Return the template with its attribute and value filled in."""
    return phrase.format(a=attribute, f=attribute.removeprefix("favorite "), v=value)


CHANGE = (
    "My {a} is now {v}.",
    "I changed my mind: my {a} is {v}.",
    "Correction: my {a} is {v}.",
    "From now on my {a} is {v}.",
    "That has changed, my {a} is {v} now.",
)
ACKNOWLEDGEMENTS = (
    "Okay.",
    "Got it.",
    "Thanks, I will remember.",
    "Noted.",
    "I see.",
    "Good to know.",
    "Sure.",
)
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
"""Replies of small chat models to a fact. Episodes cut most of them, as a token limit would."""

ANSWER = "Your {a} is {v}."
NOT_TOLD = "You have not told me your {a}."

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
    ("What is the capital of Spain?", "The capital of Spain is Madrid."),
    ("How many legs does a spider have?", "A spider has eight legs."),
    ("What is five plus six?", "Five plus six is eleven."),
    ("Which planet is closest to the sun?", "Mercury is closest to the sun."),
    ("I need to buy milk.", "I hope the shop is still open."),
    ("My train is late.", "I hope it comes soon."),
    ("Can you help me later?", "Of course, just ask."),
    ("The coffee is cold.", "A new cup would help."),
    ("I will go for a walk.", "Enjoy the fresh air."),
    ("There is a lot of traffic.", "Drive carefully."),
    ("I feel tired.", "A short nap may help you."),
    ("The film was boring.", "Maybe the next one is better."),
    ("Good morning!", "Good morning! How can I help you?"),
    ("Thank you.", "You are welcome."),
)
