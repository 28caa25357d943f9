"""Everything that is fuzzed, by its name."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager

from tests.fuzzing.archives import archives, uploads
from tests.fuzzing.channel import channel
from tests.fuzzing.http import http
from tests.fuzzing.journal import journal
from tests.fuzzing.packed import packed
from tests.fuzzing.presence import presence
from tests.fuzzing.running import Target

TARGETS: Mapping[str, Callable[[], AbstractContextManager[Target]]] = {
    "archives": archives,
    "uploads": uploads,
    "packed": packed,
    "journal": journal,
    "channel": channel,
    "presence": presence,
    "http": http,
}
