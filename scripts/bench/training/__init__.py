"""``populace bench training``: several adapters trained in shared steps, against PEFT.

``times`` trains, ``peft_side`` is the other side in a process of its own, and ``parts`` says where the time
of a step goes.
"""
