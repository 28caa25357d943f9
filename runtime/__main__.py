"""``python -m populace`` is the ``populace`` command."""

from populace.cli.main import app

app(prog_name="populace")
