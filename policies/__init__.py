"""What to decide: placement, passivation, admission, residency, retrieval, promotion.

Each module is pure: it takes numbers and values, and returns a decision. No clock, no files, no randomness
but what is handed in, nothing of another room. So every rule is tested and simulated without a server.

Carrying a decision out is up to the actors and the runtime.
"""
