"""General questions on which training keeps an adapter's predictions close to the base's.

Without this penalty a few corrections of one kind change all replies of a small model. The anchors differ
from the probes of ``learning/probes.py``, which measure how far the general replies have moved.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from populace.actors.engine import Message
from populace.learning.curricula import Curriculum
from populace.learning.encoding import ExampleEncoder
from populace.learning.kept_readings import KeptReadings
from populace.learning.methods.objective import Loss, Objective, Scored, TrainSequence
from populace.learning.probes import Probe
from populace.learning.session import TrainingSession

ANCHORS_A_STEP = 4
"""This many anchors are added to the batch of each step."""

ANCHORS = (
    Probe("What is the capital of Japan?", "The capital of Japan is Tokyo."),
    Probe("Which ocean is the largest?", "The Pacific Ocean is the largest ocean on Earth."),
    Probe("How many legs does a spider have?", "A spider has eight legs."),
    Probe("What is ice?", "Ice is water that has frozen into a solid."),
    Probe("Who painted the Mona Lisa?", "Leonardo da Vinci painted the Mona Lisa."),
    Probe("Give me a short greeting.", "Hello! How can I help you today?"),
    Probe("What is 7 times 6?", "7 times 6 is 42."),
    Probe("What do cows eat?", "Cows eat grass, hay and other plants."),
    Probe("Name two colors of the rainbow.", "Two colors of the rainbow are red and violet."),
    Probe("What does a teacher do?", "A teacher helps students learn new things."),
    Probe("What is the opposite of big?", "The opposite of big is small."),
    Probe("When does winter begin in Europe?", "Winter in Europe begins in December."),
    Probe("Why do birds sing?", "Birds sing to attract mates and to defend their territory."),
    Probe("Translate 'good morning' into French.", "'Good morning' in French is 'bonjour'."),
    Probe("What is a square?", "A square is a shape with four equal sides and four right angles."),
    Probe("How do I boil an egg?", "Put the egg into boiling water for about eight minutes."),
    Probe("What is the sun?", "The sun is a star at the center of our solar system."),
    Probe("Who discovered gravity?", "Isaac Newton described the law of gravity."),
    Probe("Write a sentence about rain.", "The rain fell softly on the roof all night."),
    Probe("What is bread made of?", "Bread is made of flour, water, salt and yeast."),
    Probe("What language is spoken in Brazil?", "Portuguese is spoken in Brazil."),
    Probe("How many minutes are in an hour?", "There are sixty minutes in an hour."),
    Probe("What is a poem?", "A poem is a piece of writing that uses rhythm and images."),
    Probe("What do I need for a picnic?", "You need food, drinks, a blanket and good weather."),
    Probe("What is the heart for?", "The heart pumps blood through the body."),
    Probe("Where do penguins live?", "Penguins live mostly in the southern half of the world."),
    Probe("What is a computer?", "A computer is a machine that processes information."),
    Probe("How can I sleep better?", "Go to bed at the same time every day and avoid screens."),
    Probe("What is 100 minus 1?", "100 minus 1 is 99."),
    Probe("Name a fruit that is yellow.", "A banana is a yellow fruit."),
    Probe("What is the tallest animal?", "The giraffe is the tallest animal."),
    Probe("What is a friend?", "A friend is someone you like and trust."),
    Probe("Why is the sea salty?", "Rivers carry salt from rocks into the sea."),
    Probe("What is a volcano?", "A volcano is a mountain from which hot lava can erupt."),
    Probe("How do I say no politely?", "You can say: thank you, but I would rather not."),
    Probe("What is a map?", "A map is a drawing that shows where places are."),
    Probe("Who was the first person on the moon?", "Neil Armstrong was the first person on the moon."),
    Probe("What do fish breathe with?", "Fish breathe with gills."),
    Probe("Give an example of a metal.", "Iron is an example of a metal."),
    Probe("What is a good way to learn?", "A good way to learn is to practice a little every day."),
)
"""The questions and answers are written for this file and come from no dataset."""


@dataclass(frozen=True, slots=True)
class AnchoredObjective:
    """L = L_method + ``weight`` · mean_t KL(π_base ‖ π) over the anchors' tokens, or of π_lower.

    It penalises the divergence from the initial model, as RLHF does (Ziegler et al., 2019), but on other text
    than the method's. ``base`` [N, V] holds the base's log-probabilities at the anchors' N scored tokens, in
    nats. The metric ``anchor_kl`` is the divergence, in nats a token.
    """

    method: Objective
    anchors: Sequence[TrainSequence]
    base: torch.Tensor
    weight: float

    @property
    def sequences(self) -> Sequence[TrainSequence]:
        return (*self.method.sequences, *self.anchors)

    def loss(self, scored: Scored) -> Loss:
        kept = len(scored.counts) - len(self.anchors)
        learned = self.method.loss(scored.part(0, kept))
        anchored_NV = scored.part(kept, len(scored.counts)).log_probs
        divergence = (self.base.exp() * (self.base - anchored_NV)).sum(1).mean()
        metrics = {**learned.metrics, "anchor_kl": float(divergence.detach())}
        return Loss(learned.value + self.weight * divergence, metrics)


class AnchorGroup(NamedTuple):
    """Anchors of one kind, and how many of them are added to each step."""

    anchors: Sequence[TrainSequence]
    a_step: int = ANCHORS_A_STEP


@dataclass(frozen=True, slots=True)
class AnchoredCurriculum:
    """Adds anchors of each group to each batch that ``learned`` draws; there must be one at least.

    The replies stay close to those of ``reference``, which is the base or a lower revision: whoever learns on
    one need not unlearn what that has learned.
    """

    learned: Curriculum
    groups: Sequence[AnchorGroup]
    reference: KeptReadings
    weight: float

    @property
    def size(self) -> int:
        return self.learned.size

    def objective(self, session: TrainingSession, batch: int) -> Objective:
        method = self.learned.objective(session, batch)
        source = session.source("anchors")
        chosen = [
            anchor
            for group in self.groups
            for anchor in source.sample(list(group.anchors), min(group.a_step, len(group.anchors)))
        ]
        return AnchoredObjective(method, chosen, self.reference.log_probs(chosen), self.weight)


def anchor_sequences(encoder: ExampleEncoder) -> list[TrainSequence]:
    """Encode the anchors, without those that are longer than the context."""
    told = encoder.fitting(ANCHORS, lambda anchor: ([Message("user", anchor.ask)], anchor.answer))
    return [sequence for _, sequence in told]
