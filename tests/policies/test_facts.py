"""A turn bears an answer out if both say the same of the same one; of thirty people, hardly anything else."""

import json
from pathlib import Path
from typing import Any

import pytest

from populace.actors.known import SURE_MIN, Answer, known_facts
from populace.policies.facts import bears_out

PEOPLE: list[dict[str, Any]] = [
    json.loads(line)
    for line in (Path(__file__).parents[1] / "held_out" / "known.jsonl").read_text("utf-8").splitlines()
]

BORNE_OUT = [
    ("I am allergic to penicillin, though.", "What am I allergic to?", "You are allergic to penicillin."),
    ("Hi! I'm Marta, I'm 34 and I moved to Porto.", "What is my name?", "Your name is Marta."),
    ("Hi! I'm Marta, I'm 34 and I moved to Porto.", "How old am I?", "You are 34."),
    ("Hi! I'm Marta, I'm 34 and I moved to Porto.", "Where do I live?", "You live in Porto."),
    ("I come from Odesa and live in Warsaw now.", "Where do I live?", "You live in Warsaw."),
    ("My favourite colour is not blue, it's green.", "What is my favorite color?", "It is green."),
    ("Mint tea is my favourite drink.", "What is my favorite drink?", "Your favorite drink is mint tea."),
    ("My sons are called Sami and Elias.", "What are my sons' names?", "Your sons are Sami and Elias."),
    ("My daughter's cat is called Pickle.", "What is my daughter's cat's name?", "It is Pickle."),
    ("My dog Churro ate a baguette.", "What is my dog's name?", "Your dog is called Churro."),
    ("I have a cat named Mog.", "What is my cat's name?", "Your cat's name is Mog."),
    ("I don't eat meat myself.", "What can't I eat?", "You don't eat meat."),
    ("I only speak Turkish and English.", "Which languages do I speak?", "You speak Turkish and English."),
    ("My brother lives in Hamburg.", "Where does my brother live?", "Your brother lives in Hamburg."),
    ("I live in Rome. No wait, I live in Milan.", "Where do I live?", "You live in Milan."),
    ("I can't stand karaoke.", "What do I dislike?", "You dislike karaoke."),
    ("My bike lock code is 4711, remember that.", "What is my bike lock code?", "It is 4711."),
]

NOT_BORNE_OUT = [
    # of another one
    (
        "My son is nine and he is allergic to peanuts.",
        "What am I allergic to?",
        "You are allergic to peanuts.",
    ),
    ("My son is nine and allergic to peanuts.", "What am I allergic to?", "You are allergic to peanuts."),
    ("I have a friend who is allergic to cats.", "What am I allergic to?", "You are allergic to cats."),
    ("I have kids allergic to nuts.", "What am I allergic to?", "You are allergic to nuts."),
    ("My son is allergic to peanuts.", "What am I allergic to?", "Your son is allergic to peanuts."),
    ("My daughter's cat is called Pickle.", "What is my cat's name?", "Your cat is called Pickle."),
    ("My daughter's cat is called Pickle.", "What is my daughter's name?", "It is Pickle."),
    (
        "My daughter's cat is called Pickle.",
        "What is my daughter's cat's name?",
        "Your cat is called Pickle.",
    ),
    ("My dog trainer is called Ann.", "What is my dog's name?", "Your dog is called Ann."),
    ("My brother's name is Rafa, mine is Diego.", "What is my brother's name?", "It is Diego."),
    ("My brother has two dogs, Rex and Fritz.", "What is my brother?", "Your brother is called Fritz."),
    ("Karim's favourite drink is whisky.", "What is my favorite drink?", "Your favorite drink is whisky."),
    ("My favorite music is jazz, his is metal.", "What is my favorite music?", "It is metal."),
    ("I live in Pune, and my in-laws live in Jaipur.", "Where do I live?", "You live in Jaipur."),
    ("My grandson Tyler is at college.", "What is my grandfather?", "Your grandfather is at college."),
    # of something else
    ("I come out in a rash.", "Where do I come from?", "You come from a rash."),
    ("I want to live in Paris.", "Where do I live?", "You live in Paris."),
    ("I have to work in Paris tomorrow.", "Where do I work?", "You work in Paris."),
    ("I can work in Paris.", "Where do I work?", "You work in Paris."),
    ("I can eat nuts.", "What can't I eat?", "You can eat nuts."),
    ("My brother works in Hamburg.", "Where does my brother live?", "Your brother lives in Hamburg."),
    ("I live in Rome. No wait, I live in Milan.", "Where do I live?", "You live in Rome."),
    ("I come from Odesa and live in Warsaw now.", "Where do I live?", "You live in Odesa."),
    ("My least favourite food is celery.", "What is my favorite food?", "Your favorite food is celery."),
    ("In autumn it smells of chestnuts.", "What is my favorite color?", "Your favorite color is autumn."),
    ("I'm in Adelaide for a week.", "Where do I come from?", "You come from Adelaide."),
    ("I'm 5 minutes late.", "How old am I?", "You are 5."),
    ("My dog Churro ate a baguette.", "What is my dog's name?", "Your dog is called Baguette."),
    ("My dog Rex bit Max.", "What is my dog's name?", "Your dog is called Max."),
    # not so, no more, perhaps, or only said
    ("I thought I was allergic to eggs.", "What am I allergic to?", "You are allergic to eggs."),
    (
        "The doctor asked whether I am allergic to latex.",
        "What am I allergic to?",
        "You are allergic to latex.",
    ),
    ("Joke: I am allergic to Mondays.", "What am I allergic to?", "You are allergic to Mondays."),
    ("Suppose I live in Rome.", "Where do I live?", "You live in Rome."),
    ("My boss said: 'I live in Rome'.", "Where do I live?", "You live in Rome."),
    ("I used to live in Rome.", "Where do I live?", "You live in Rome."),
    ("I might live in Rome one day.", "Where do I live?", "You live in Rome."),
    ("Do I live in Rome?", "Where do I live?", "You live in Rome."),
    ("Translate: I live in Rome.", "Where do I live?", "You live in Rome."),
    ("I live in Rome, not in Paris.", "Where do I live?", "You live in Paris."),
    ("I don't live in Rome.", "Where do I live?", "You live in Rome."),
    ("I live in Rome.", "Where do I live?", "You don't live in Rome."),
    ("I don't eat meat.", "What can't I eat?", "You can eat meat."),
    ("People call me Helga, that's not my name.", "What is my name?", "Your name is Helga."),
    # no answer
    ("My pet peeve is noise.", "What is my pet peeve?", "You have not told me your pet peeve."),
    ("I live in Rome.", "Where do I live?", "I live in Rome."),
    ("I live in Rome.", "Where do I live?", ""),
    ("I live in Rome.", "Where do I live?", "You live in Rome, near the Colosseum."),
]


@pytest.mark.parametrize(("said", "question", "answer"), BORNE_OUT)
def test_what_was_told_bears_out_an_answer(said: str, question: str, answer: str) -> None:
    assert bears_out(said, question, answer)


@pytest.mark.parametrize(("said", "question", "answer"), NOT_BORNE_OUT)
def test_what_was_told_otherwise_bears_out_nothing(said: str, question: str, answer: str) -> None:
    assert not bears_out(said, question, answer)


def test_of_what_is_shown_of_thirty_people_nearly_all_is_right() -> None:
    """Their answers are those of the default base, and were judged by hand."""
    shown: list[bool] = []
    for person in PEOPLE:
        answers = [Answer(one["ask"], one["answer"], ()) for one in person["answers"]]
        read = {one["ask"] for one in person["answers"] if one["read"]}
        rows = {one["ask"]: one for one in person["answers"]}
        says: list[str] = person["says"]
        facts = known_facts(answers, list(enumerate(says)), read)
        certain = [rows[fact.question] for fact in facts if rows[fact.question]["sure"] >= SURE_MIN]
        shown += [row["right"] for row in certain]

    assert len(PEOPLE) == 30
    assert len(shown) >= 60
    assert sum(shown) >= 0.95 * len(shown)
