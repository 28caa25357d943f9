"""Populations as numbers: how members differ, who answers, how votes become one, what may be told.

``probes`` and ``similarity`` say how alike members are, ``selection`` chooses some, ``votes`` and ``fits``
say what they are worth together, ``disclosure`` what may leave. Formulas name their sources.
"""
