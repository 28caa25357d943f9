"""``python -m scripts.bench``, which is ``populace bench`` of a checkout."""

from scripts.bench.commands.main import app

app()
