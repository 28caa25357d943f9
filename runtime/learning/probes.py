"""General questions that measure whether an adapter lost abilities which its person's data does not cover."""

from typing import NamedTuple


class Probe(NamedTuple):
    """A question of general knowledge, and an answer that every base should find likely."""

    ask: str
    answer: str


PROBES = (
    Probe("What is the capital of France?", "The capital of France is Paris."),
    Probe("What is the largest planet?", "Jupiter is the largest planet in our solar system."),
    Probe("Why is the sky blue?", "Air scatters blue light from the sun more than red light."),
    Probe("What is water made of?", "Water is made of hydrogen and oxygen."),
    Probe("Who wrote Romeo and Juliet?", "William Shakespeare wrote Romeo and Juliet."),
    Probe("How many days are there in a week?", "There are seven days in a week."),
    Probe("What do bees make?", "Bees make honey and wax."),
    Probe("What is 12 plus 30?", "12 plus 30 is 42."),
    Probe("Name three primary colors.", "Red, yellow and blue are the three primary colors."),
    Probe("What does a baker do?", "A baker bakes bread, cakes and other pastries."),
    Probe("What is the opposite of hot?", "The opposite of hot is cold."),
    Probe("When did the Second World War end?", "The Second World War ended in 1945."),
    Probe("How do plants get energy?", "Plants get energy from sunlight through photosynthesis."),
    Probe("Translate 'thank you' into Spanish.", "'Thank you' in Spanish is 'gracias'."),
    Probe("What is a triangle?", "A triangle is a shape with three sides and three angles."),
    Probe("Why do people sleep?", "People sleep so that their bodies and minds can rest and recover."),
)
"""Written for this file, from no dataset. The 16 answers have about 200 tokens, 0.1 s a pass on a CPU."""
