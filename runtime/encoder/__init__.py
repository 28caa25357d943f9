"""A sentence encoder: how alike are two sentences in what they mean?

Hosts ask it whether a question asks in other words for what was corrected or told
(``policies/corrections.py``, ``policies/tellings.py``). It runs in numpy, as a host loads no torch.
"""
