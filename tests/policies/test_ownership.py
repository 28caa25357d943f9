"""A question asks for the person's own things, and a text tells of them, or of anything else."""

import pytest

from populace.policies.ownership import OwnQuestion, OwnText, names_in, owned, owners_in, speaks_of_self


@pytest.mark.parametrize(
    ("text", "nouns"),
    [
        ("What is my dog called?", ["dog"]),
        ("When is my sister's birthday?", ["sist"]),
        ("Where did our dear old boss live, and my uncle?", ["boss", "uncl"]),
        ("What is my favourite?", []),
        ("What is a dog called?", []),
        ("My, my, what a day", []),
        ("", []),
    ],
)
def test_what_is_ones_own(text: str, nouns: list[str]) -> None:
    assert [thing.noun for thing in owned(text)] == nouns


@pytest.mark.parametrize(
    ("question", "told"),
    [
        ("What is my dog called?", "My dog is called Bruno."),
        ("What is my dog called?", "I have a little dog, his name is Bruno."),
        ("Where do I live?", "We live in Porto, over a bakery."),
        ("What do people call me?", "Everybody calls me Otti."),
        ("What is our wifi called?", "The wifi at home is called Sardine."),
        ("sister's name?", "My sister Katarzyna is a dentist."),
        ("Where does Huw have his boatyard?", "my son huw has a boatyard down in milford haven"),
        ("How old is Chispa?", "Chispa is my greyhound, she is four."),
        ("Who is Teresa?", "My manager is called Teresa."),
        ("What is my dog called?", "Please remember: my dog is called Rex."),
        ("What is my dog called?", "Can you write this down, my dog is called Rex."),
        ("What is my job?", "I work as a piano tuner."),
        ("What is my mum called?", "My mother is called Ada."),
        ("What is my wife's name?", "Explain mortgages. My wife Oyelaran wants a garden. What is a rate?"),
    ],
)
def test_what_is_told_of_ones_own(question: str, told: str) -> None:
    assert OwnQuestion(question).is_told_in(OwnText(told))


@pytest.mark.parametrize(
    ("question", "told"),
    [
        ("What is a beagle?", "My dog is a beagle."),
        ("How many people live in Hamburg?", "My sister Lena lives in Hamburg."),
        ("What is her dog called?", "My dog is called Bruno."),
        ("What is your dog called?", "My dog is called Bruno."),
        ("What is my sister allergic to?", "I'm allergic to peanuts."),
        ("Who is Teresa of Calcutta?", "My manager is called Teresa."),
        ("Where does Teresa live?", "My manager is called Teresa."),
        ("What is my dog called?", "Her dog is called Rex."),
        ("What is my dog called?", "My aunt's dog is called Rex."),
        ("When is my birthday?", "My sister's birthday is on 9 May."),
        ("Where do I live?", "My mother lives downstairs."),
        ("What is my dog called?", "Translate into French: my dog is called Satan."),
        ("What is my address?", "Summarise: Dear all. My new address is 5 Elm Street. Best, Eve"),
        ("When is my birthday?", "Reply to this mail: Hi, my birthday is on May 3. Eve"),
        ("What is my dog called?", "Eve wrote me this: my dog is called Rex."),
        ("What is my dog called?", "> My dog is called Rex."),
        ("What is my dog called?", "From: Eve\nMy dog is called Rex."),
        ("What is my dog called?", "Write a story. He begins: My dog is called Rex."),
        ("What is my dog called?", "I wish my dog was called Rex."),
        ("Who is my boss?", "Imagine my boss is called Zorg."),
        ("Who is my boss?", "In the novel my boss is called Zorg."),
        ("Who is my doctor?", "The woman before me said: my doctor is Dr Malik."),
        ("What is our anniversary?", "Is this right? 'Our anniversary is on the third of May.'"),
        ("Where do I work?", "I used to work at the harbour."),
        ("What is my dog called?", "Is my dog called Bruno?"),
        ("", "My dog is called Bruno."),
        ("dog?", ""),
    ],
)
def test_what_is_not(question: str, told: str) -> None:
    assert not OwnQuestion(question).is_told_in(OwnText(told))


def test_other_owners_and_names() -> None:
    assert owners_in("What's Teresa's dog called? It's Rex.") == {"tere"}
    assert names_in("Where does Teresa live, in Porto?") == {"tere", "port"}
    assert speaks_of_self("where's OUR car")
    assert not speaks_of_self("Mystery is a word")
