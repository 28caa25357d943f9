"""OpenAI's Responses and Conversations: chats whose beginnings the server keeps.

A response is a turn of the person's log and its id names the turn's position; nothing is stored beside the
log. ``routes`` has responses and ``conversations`` their threads; ``items`` is what clients send of both, and
``turn_lookup`` finds the turns that they name. ``exchange`` and ``wire`` make what is sent, over the chats'
own ``completions/exchange``. Lists of items come in pages (``item_pages``).
"""
