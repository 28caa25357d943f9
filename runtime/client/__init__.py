"""The Python interface: ``connect()``, the population, and personal models as handles.

``population`` and ``model_handle`` have the verbs, blocking, with retries; ``chat_request`` turns keywords
into a request. They talk to the hosts, which are in other processes.

The hosts decide what a verb means, so that HTTP and Python do the same.
"""
