"""The probes that profile members: forty questions with three choices each, the same for all.

They cover many topics, so that members that learned different things differ on some; they are short, as
every member reads them whenever it gets a new revision.
"""

import hashlib
import json
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class ChoiceProbe(NamedTuple):
    """A question, its choices, and the number of the right one."""

    ask: str
    choices: tuple[str, str, str]
    right: int


PROBES = (
    ChoiceProbe("What color is the sky on a clear day?", ("Green.", "Blue.", "Red."), 1),
    ChoiceProbe("What is 3 + 4?", ("7.", "8.", "12."), 0),
    ChoiceProbe("What is 9 - 5?", ("3.", "14.", "4."), 2),
    ChoiceProbe("What is 6 times 2?", ("8.", "12.", "62."), 1),
    ChoiceProbe("Which number is the largest?", ("19.", "91.", "9."), 1),
    ChoiceProbe("What is half of 20?", ("10.", "40.", "5."), 0),
    ChoiceProbe("What is the capital of France?", ("Lyon.", "Madrid.", "Paris."), 2),
    ChoiceProbe("What is the capital of Japan?", ("Tokyo.", "Beijing.", "Kyoto."), 0),
    ChoiceProbe("Which country is in Africa?", ("Peru.", "Kenya.", "Norway."), 1),
    ChoiceProbe("Which one is an ocean?", ("The Nile.", "The Alps.", "The Pacific."), 2),
    ChoiceProbe("Which animal can fly?", ("An eagle.", "A horse.", "A shark."), 0),
    ChoiceProbe("Which animal lives in water?", ("A camel.", "A dolphin.", "A goat."), 1),
    ChoiceProbe("How many legs has a spider?", ("Six.", "Four.", "Eight."), 2),
    ChoiceProbe("What do cows give?", ("Milk.", "Honey.", "Silk."), 0),
    ChoiceProbe("What do plants need to grow?", ("Salt.", "Light.", "Smoke."), 1),
    ChoiceProbe("Which planet do we live on?", ("Mars.", "Venus.", "Earth."), 2),
    ChoiceProbe("What is frozen water?", ("Ice.", "Steam.", "Sand."), 0),
    ChoiceProbe("What do we breathe?", ("Iron.", "Air.", "Oil."), 1),
    ChoiceProbe("Which one is a metal?", ("Wood.", "Wool.", "Copper."), 2),
    ChoiceProbe("What is the opposite of cold?", ("Hot.", "Wet.", "Old."), 0),
    ChoiceProbe("What is the opposite of early?", ("Soon.", "Late.", "Never."), 1),
    ChoiceProbe("Which word means glad?", ("Angry.", "Tired.", "Happy."), 2),
    ChoiceProbe("What is the plural of mouse?", ("Mice.", "Mouses.", "Mousen."), 0),
    ChoiceProbe("Which word is a verb?", ("Table.", "Run.", "Yellow."), 1),
    ChoiceProbe("Who wrote Hamlet?", ("Newton.", "Mozart.", "Shakespeare."), 2),
    ChoiceProbe("What does a doctor do?", ("Heals people.", "Bakes bread.", "Flies planes."), 0),
    ChoiceProbe("Where do you buy bread?", ("At the bank.", "At the bakery.", "At the pool."), 1),
    ChoiceProbe("What do you wear on your feet?", ("Gloves.", "A hat.", "Shoes."), 2),
    ChoiceProbe("What do you use to write?", ("A pen.", "A spoon.", "A pillow."), 0),
    ChoiceProbe("Which day comes after Monday?", ("Sunday.", "Tuesday.", "Friday."), 1),
    ChoiceProbe("Which month is the first of the year?", ("June.", "December.", "January."), 2),
    ChoiceProbe("How many minutes has an hour?", ("Sixty.", "Ten.", "A hundred."), 0),
    ChoiceProbe("Is fire hot or cold?", ("Cold.", "Hot.", "Neither."), 1),
    ChoiceProbe("Which is heavier?", ("A feather.", "A leaf.", "An elephant."), 2),
    ChoiceProbe("How do you answer a thank you?", ("You are welcome.", "Good night.", "Never mind it."), 0),
    ChoiceProbe("What is tea?", ("A tool.", "A drink.", "A game."), 1),
    ChoiceProbe("What is chess?", ("A fruit.", "A river.", "A game."), 2),
    ChoiceProbe("Say hello in Spanish.", ("Hola.", "Bonjour.", "Ciao."), 0),
    ChoiceProbe("What comes out of a volcano?", ("Snow.", "Lava.", "Milk."), 1),
    ChoiceProbe("What is two times two times two?", ("6.", "4.", "8."), 2),
)
"""The probes, which were written for this file."""

LABELS: NDArray[np.int64] = np.array([probe.right for probe in PROBES])
DIGEST = hashlib.sha256(json.dumps(PROBES).encode()).hexdigest()
"""The digest of the probes; a profile with another digest is of other probes and not used."""
