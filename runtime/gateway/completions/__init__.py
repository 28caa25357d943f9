"""Chats, completions and embeddings, as OpenAI's and vLLM's servers have them.

``routes`` begins a reply, ``exchange`` streams it and records the turn, and ``wire`` makes the objects that
are sent. ``schema`` and ``parameters`` have what may be asked for, ``chat_messages`` the messages, and
``peeks`` tells a front end's own tasks from a person's turns. ``population`` answers for the model of that
name.
"""
