"""All faults that ``python -m scripts.mutants`` plants, by the promise that they break."""

from scripts.mutants import learning, memory, models, turns

MUTANTS = (*turns.FAULTS, *models.FAULTS, *learning.FAULTS, *memory.FAULTS)
