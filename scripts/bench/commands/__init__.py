"""The commands of ``populace bench``: their options, and how results are shown."""
