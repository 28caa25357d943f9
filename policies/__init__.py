"""The decisions: placement, passivation, admission, residency, retrieval, promotion.

Each module is pure: it takes numbers and values, and returns a decision. It uses no clock, no files, no
randomness except what is passed in, and nothing of the other top-level packages. So every rule is tested and
simulated without a server.

The actors and the runtime carry the decisions out.
"""
