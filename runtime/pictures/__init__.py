"""Pictures as SVG text: a memory state, curves of training and of votes, and a map of a population.

Each function takes values and returns SVG text that browsers and Markdown show; none reads or writes files.
Charts are drawn by matplotlib, which only ``figures`` imports, from the extra ``pictures``.
The memory grid is written by hand, because gateways serve it and clients draw it without that extra.
"""
