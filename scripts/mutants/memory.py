"""Faults against P15 and P16: a memory changes what it should and nothing else, and forgets."""

from scripts.mutants.mutant import Edit, Mutant

FAULTS = (
    Mutant(
        "a gate is open whatever was asked",
        "P15",
        (
            Edit(
                "runtime/adapters/memory/attached.py",
                "opens_B = (gates.read(hidden_BTH[:, -1]) > 0) & has_memory_B",
                "opens_B = has_memory_B",
            ),
        ),
        ("tests/runtime/adapters/memory/test_gates.py",),
    ),
    Mutant(
        "what tells nothing is written",
        "P15",
        (
            Edit(
                "runtime/adapters/memory/attached.py",
                "kept[row, places_P[:-1]] = opens_BT[row, places_P[-1]]",
                "kept[row, places_P[:-1]] = True",
            ),
        ),
        ("tests/runtime/adapters/memory/test_gates.py",),
    ),
    Mutant(
        "vLLM reads though the gate is closed",
        "P15",
        (
            Edit(
                "runtime/engines/vllm_memory/gated_step.py",
                "known.opened = opens and known.holds",
                "known.opened = known.holds",
            ),
        ),
        ("tests/runtime/engines/gated/test_gated_memory.py",),
    ),
    Mutant(
        "a reply reads the memory of another in its step",
        "P15",
        (
            Edit(
                "runtime/engines/vllm_memory/gated_step.py",
                "states_SNRR[self._read_rows]",
                "states_SNRR[self._read_rows.clamp(max=0)]",
            ),
        ),
        ("tests/runtime/engines/vllm_memory/test_gated_step.py",),
    ),
    Mutant(
        "a message that is read in pieces is written as several",
        "P15",
        (
            Edit(
                "runtime/engines/vllm_memory/gated_step.py",
                "whole = projected if begun is None else begun.whole(number, projected)",
                "whole = projected",
            ),
        ),
        ("tests/runtime/engines/vllm_memory/test_gated_step.py",),
    ),
    Mutant(
        "cached blocks hide what is to be written",
        "P15",
        (
            Edit(
                "runtime/engines/vllm_memory/prefix_cache.py",
                "min(last + 1, request.num_tokens)",
                "request.num_tokens",
            ),
        ),
        ("tests/runtime/engines/gated/test_gated_memory.py",),
    ),
    Mutant(
        "a forgotten turn stays in its row",
        "P16",
        (Edit("storage/rows/forgetting.py", 'reply="",', "reply=interaction.reply,"),),
        ("tests/actors/test_forgetting.py",),
    ),
    Mutant(
        "a forgotten turn stays in the memory",
        "P16",
        (
            Edit(
                "actors/host/forgetter.py",
                "return _Plan(without, log, None if refolded is None else refolded.memory, refolded)",
                "return _Plan(without, log, None, refolded)",
            ),
        ),
        ("tests/actors/test_forgetting.py",),
    ),
    Mutant(
        "memories that the log keeps have a forgotten turn",
        "P16",
        (
            Edit(
                "actors/host/forgetter.py",
                "changed = {**log.changed, **(refolded.changed if refolded is not None else {})}",
                "changed = {**log.changed}",
            ),
        ),
        ("tests/actors/test_forgetting.py",),
    ),
    Mutant(
        "later turns keep what their client sent of a forgotten one",
        "P16",
        (
            Edit(
                "actors/forgetting.py",
                "record.position: without_turns(record.messages, turns)",
                "record.position: list(range(len(record.messages)))",
            ),
        ),
        ("tests/actors/test_forgetting.py",),
    ),
    Mutant(
        "who sends a forgotten turn again brings it back",
        "P16",
        (
            Edit(
                "actors/turns/turn_director.py",
                "kept = without_turns(request.messages, forgotten)",
                "kept = list(range(len(request.messages)))",
            ),
        ),
        ("tests/actors/test_forgetting.py",),
    ),
    Mutant(
        "what learned from a forgotten turn answers on",
        "P16",
        (
            Edit(
                "storage/rows/forgetting.py",
                "touched = touched_revisions(revisions, without.positions)",
                "touched = frozenset[str]()",
            ),
        ),
        ("tests/actors/test_forgotten_revisions.py",),
    ),
    Mutant(
        "what was trained on its revision answers on",
        "P16",
        (
            Edit(
                "storage/rows/forgetting.py",
                "origins = (revision.parent, lower_of(revision.hyper_parameters), *",
                "origins = (revision.parent, *",
            ),
        ),
        ("tests/actors/test_forgotten_revisions.py",),
    ),
    Mutant(
        "a training goes on with a forgotten turn",
        "P16",
        (
            Edit(
                "storage/rows/forgetting.py",
                "if not learns and not goes_on:",
                "if not goes_on:",
            ),
        ),
        ("tests/actors/test_forgotten_revisions.py",),
    ),
    Mutant(
        "free pages keep a forgotten turn",
        "P16",
        (
            Edit(
                "storage/rows/forgetting.py",
                "erasures.note_erasure(txn, touched, now_ms=now_ms)",
                "erasures.give_up(txn, touched)",
            ),
        ),
        ("tests/actors/test_forgotten_bytes.py",),
    ),
    Mutant(
        "words forget before they are confirmed",
        "P16",
        (
            Edit(
                "runtime/gateway/personal_models/forgetting.py",
                "if body.query is not None and not body.confirm:",
                "if body.query is not None and body.confirm is None:",
            ),
        ),
        ("tests/runtime/gateway/test_forgetting.py",),
    ),
)
