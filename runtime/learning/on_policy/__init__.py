"""On-policy training, on replies that the model in training samples itself.

``reward`` trains with verifiable rewards, ``distillation`` trains a context into the weights. ``rounds`` is
the curriculum of both, and ``sampler`` the engine from which the replies come. ``tasks`` and ``log_queries``
make the prompts, and ``held_out_tasks`` judges a candidate by its rewards.
"""
