"""Pictures as SVG text: a memory state, a population, curves of votes and of training.

Each function takes values and returns a text that browsers and Markdown show. Nothing here reads files, and
nothing else in the package draws.
"""
