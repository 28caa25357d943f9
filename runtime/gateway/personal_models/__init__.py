"""People's models: made, listed, trained, merged, exported, and their memory read, restored and forgotten.

Each module has the routes of one part of a model. ``archive_service`` and ``adapter_service`` do the work on
files that those of archives, revisions and merges ask for, away from the event loop. What chats ask of a
model is in ``completions``.
"""
