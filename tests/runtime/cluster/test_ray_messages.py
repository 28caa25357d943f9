"""What Ray says of its own accord reaches the log in a line, and not the terminal."""

import logging
from typing import Any

import pytest
from ray._private import worker as ray_worker

from populace.cluster.ray_parts import LINE_MAX, log_messages, messages_dropped

worker: Any = ray_worker  # it is partly untyped
DIED = "Raylet is terminated. Possible reasons include: (1) SIGKILL.\n" + "    main.cc: a line\n" * 20


def test_a_long_message_is_one_short_line_in_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    # Restored by the end of the test; Ray looks the name up for each message.
    monkeypatch.setattr(worker, "print_to_stdstream", worker.print_to_stdstream)

    log_messages()
    with caplog.at_level(logging.WARNING):
        with messages_dropped():
            worker.print_to_stdstream({"lines": ["an actor died"], "pid": "raylet"}, ignore_prefix=False)
        worker.print_to_stdstream({"lines": [DIED], "pid": "raylet", "is_err": False}, ignore_prefix=False)

    [record] = caplog.records
    said = record.getMessage()
    assert said.startswith("Ray: Raylet is terminated.")
    assert "\n" not in said
    assert len(said) < LINE_MAX + 20
    assert capfd.readouterr().out == ""
