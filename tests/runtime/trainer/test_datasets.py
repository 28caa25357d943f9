"""Each learning method has a maker of its datasets."""

from populace.actors.training_methods import METHODS
from populace.trainer.datasets import MAKERS


def test_every_method_has_a_maker() -> None:
    assert MAKERS.keys() == METHODS.keys()
