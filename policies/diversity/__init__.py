"""Populations as numbers: how members differ, which answer, how votes become one, what may be disclosed.

``probes`` and ``similarity`` measure how alike members are, ``selection`` chooses some, ``votes`` and
``fits`` measure what they are worth together, ``disclosure`` decides what may be shown. Formulas name their
sources.
"""
