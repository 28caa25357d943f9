"""``populace bench recall``: what a person sees of a memory, measured over whole replies."""
