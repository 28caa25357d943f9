"""Asking a population: which members answer, how their votes become one, and what may be told of it.

``aggregator`` leads a question, ``choosing`` chooses members, ``ballot`` asks them, ``ensemble`` adds up.
``report`` says what a population is like. The mathematics is in ``policies/diversity``.

A member's own words leave only as ``policies/diversity/disclosure`` allows.
"""
