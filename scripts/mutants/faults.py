"""The faults that ``python -m scripts.mutants`` plants, and the tests that shall notice each."""

from typing import NamedTuple


class Edit(NamedTuple):
    """One change of the source; ``old`` stands in the file exactly once."""

    file: str
    old: str
    new: str


class Mutant(NamedTuple):
    """A fault, the promise that it breaks, and the tests that shall notice it."""

    name: str
    promise: str
    edits: tuple[Edit, ...]
    tests: tuple[str, ...]


MUTANTS = (
    Mutant(
        "sync=False",
        "P1",
        (
            Edit(
                "storage/shards/shard.py",
                "readahead=False,\n",
                "readahead=False,\n                sync=False,\n",
            ),
        ),
        ("tests/storage/test_power_loss.py",),
    ),
    Mutant(
        "the names of new files are not synced",
        "P1",
        (
            Edit(
                "storage/records/files.py",
                "os.O_DIRECTORY)\n    try:\n        os.fsync(descriptor)\n",
                "os.O_DIRECTORY)\n    try:\n        pass\n",
            ),
        ),
        ("tests/storage/test_power_loss.py",),
    ),
    Mutant(
        "a shard serves on after a failed commit",
        "P1",
        (
            Edit(
                "storage/shards/shard.py",
                "self._refusal.stop(UnknownOutcome(self.number, str(error)), error)",
                "raise UnknownOutcome(self.number, str(error)) from error",
            ),
        ),
        ("tests/storage/test_shard.py", "tests/actors/test_owned_shards.py"),
    ),
    Mutant(
        "reply before commit",
        "P1",
        (
            Edit(
                "actors/turns/turn_director.py",
                "        if request.kept is not None:\n"
                "            self.interaction = await self._hosts.finish_turn(grant, reply.finish())\n"
                "            self._settled = True\n"
                "        if stream:\n"
                "            for delta in last:\n"
                "                yield delta\n",
                "        if stream:\n"
                "            for delta in last:\n"
                "                yield delta\n"
                "        if request.kept is not None:\n"
                "            self.interaction = await self._hosts.finish_turn(grant, reply.finish())\n"
                "            self._settled = True\n",
            ),
        ),
        ("tests/actors/test_turn_director.py",),
    ),
    Mutant(
        "log append outside the transaction",
        "P1",
        (
            Edit(
                "storage/rows/ledger.py",
                "    rows = {\n        keys.interaction(tenant, name, expected_position): data,\n",
                "    rows = {\n",
            ),
            Edit(
                "actors/host/host_turns.py",
                "        except BaseException:\n            model.release(grant)\n",
                "            key = keys.interaction(*grant.model, interaction.position)\n"
                "            data = interaction.pack()\n"
                "            await self._turn_log._shards.write(\n"
                "                self._catalogue.shard(grant.model), lambda txn: txn.put(key, data)\n"
                "            )\n"
                "        except BaseException:\n            model.release(grant)\n",
            ),
            Edit(
                "actors/host/host_turns.py",
                "from populace.storage.records.errors import ModelNotFound, PositionConflict\n",
                "from populace.storage.records import keys\n"
                "from populace.storage.records.errors import ModelNotFound, PositionConflict\n",
            ),
        ),
        ("tests/storage/test_ledger.py", "tests/storage/test_ledger_machine.py"),
    ),
    Mutant(
        "dedupe removed",
        "P2",
        (
            Edit(
                "storage/rows/ledger.py",
                "    if found is not None:\n        operation, recorded = found\n",
                "    if found is not None and False:\n        operation, recorded = found\n",
            ),
        ),
        ("tests/storage/test_ledger.py", "tests/storage/test_ledger_machine.py"),
    ),
    Mutant(
        "a message that is sent again runs again",
        "P2",
        (Edit("runtime/hosting/host_actor.py", "tasks = self._messages.get(message)", "tasks = None"),),
        ("tests/runtime/hosting/test_host_actor.py",),
    ),
    Mutant(
        "a request that Ray brings again is generated again",
        "P2",
        (Edit("runtime/engines/runs.py", "run = self._runs.get(target.stream_id)", "run = None"),),
        ("tests/runtime/engines/test_runs.py", "tests/runtime/engines/test_client.py"),
    ),
    Mutant(
        "a request that Ray lost is not sent again",
        "P8",
        (
            Edit(
                "runtime/engines/client.py",
                "        if isinstance(error, _CallLost):\n            self.send()\n",
                "        if isinstance(error, _CallLost):\n            pass\n",
            ),
            Edit("runtime/engines/client.py", "SILENT_LOOKS_RESEND = (3, 6, 9)", "SILENT_LOOKS_RESEND = ()"),
        ),
        ("tests/runtime/engines/test_client.py",),
    ),
    Mutant(
        "no epoch check",
        "P3",
        (
            Edit(
                "storage/shards/shard.py", "            if stored != self.epoch:\n", "            if False:\n"
            ),
        ),
        ("tests/storage/test_shard.py", "tests/storage/test_takeover.py"),
    ),
    Mutant(
        "a compaction does not look at the epoch",
        "P3",
        (
            Edit(
                "storage/shards/shard.py",
                "if stored == stored_epoch(Reader(copied)) == self.epoch:",
                "if True:",
            ),
        ),
        ("tests/storage/test_compaction.py",),
    ),
    Mutant(
        "default on missing",
        "P4",
        (
            Edit(
                "storage/rows/ledger.py",
                "    if data is None:\n        raise ModelNotFound(name)\n    return HeadRecord.unpack(data)",
                "    if data is None:\n        return HeadRecord()\n    return HeadRecord.unpack(data)",
            ),
        ),
        ("tests/storage/test_ledger.py",),
    ),
    Mutant(
        "a lost shard is made anew",
        "P4",
        (Edit("storage/store.py", "            create=False,\n", "            create=True,\n"),),
        ("tests/storage/test_store.py", "tests/storage/test_schemas.py", "tests/storage/test_compaction.py"),
    ),
    Mutant(
        "evict while busy",
        "P5",
        (
            Edit(
                "actors/host/activations.py",
                "self._bytes_max:\n"
                "            victim = self._idle.longest_idle()\n"
                "            if victim is None:\n"
                "                self.refusals",
                "self._bytes_max:\n"
                "            victim = next(iter(self._active), None)\n"
                "            if victim is None:\n"
                "                self.refusals",
            ),
            Edit(
                "actors/host/activations.py",
                '        assert not model.is_busy, "a busy model is never passivated"\n',
                "",
            ),
        ),
        ("tests/actors/test_host.py",),
    ),
    Mutant(
        "log compaction drops what a retry needs",
        "P2",
        (
            Edit(
                "storage/rows/log.py",
                "            if operation.expires_ms > now_ms:\n                break\n",
                "",
            ),
        ),
        ("tests/storage/test_log.py", "tests/actors/test_log_compactor.py"),
    ),
    Mutant(
        "what comes from another store keeps that store's time",
        "P2",
        (
            Edit(
                "actors/keepers/catalogue.py",
                "return portable.timed_here(rows, *model, now_ms=now_ms, expires_ms=expires_ms)",
                "return rows",
            ),
        ),
        ("tests/actors/test_archives.py",),
    ),
    Mutant(
        "erase without key destruction",
        "P10",
        (
            Edit(
                "storage/records/erasures.py",
                "    for prefix in keys.model_prefixes(tenant, name):\n",
                "    for prefix in keys.model_prefixes(tenant, name)[1:]:\n",
            ),
        ),
        ("tests/actors/test_erased_backups.py",),
    ),
    Mutant(
        "a backup keeps adapters plain",
        "P10",
        (
            Edit(
                "storage/backups/adapters.py",
                "write_sealed(writer, _part_key(grant, self._salt, _PACKED), _pieces(path))",
                "[writer.write('last', piece) for piece in _pieces(path)]",
            ),
        ),
        ("tests/actors/test_erased_backups.py",),
    ),
    Mutant(
        "a history that is sent again is remembered again",
        "P2",
        (Edit("policies/ingestion.py", "            return index + 1\n", "            return 0\n"),),
        ("tests/actors/test_memory.py",),
    ),
    Mutant(
        "a turn's memory is not in its transaction",
        "P4",
        (
            Edit(
                "actors/keepers/turn_log.py",
                "                memory=memory,\n",
                "                memory=None,\n",
            ),
        ),
        ("tests/actors/test_memory.py",),
    ),
    Mutant(
        "a state that is no number is served",
        "P9",
        (Edit("runtime/adapters/memory/state.py", "        _check(values)\n", ""),),
        ("tests/runtime/adapters/memory/test_state.py",),
    ),
    Mutant(
        "an adapter slot keeps the weights of who had it",
        "P9",
        (
            Edit("runtime/engines/vllm_lora/cpu.py", "if lora_id in self.lora_index_to_id:", "if False:"),
            Edit(
                "runtime/engines/vllm_lora/table.py",
                "        self._ranks[slot] = 0\n        self._images[slot] = None\n",
                "        if self._images[slot] is not None:\n            return\n",
            ),
        ),
        ("tests/runtime/engines/test_wrong_model.py",),
    ),
    Mutant(
        "tenants find each other's cached prompts",
        "P9",
        (Edit("runtime/engines/vllm_values.py", "{weights}\\0{request.owner}", "{weights}"),),
        ("tests/runtime/engines/test_wrong_model.py",),
    ),
    Mutant(
        "an alias moves before its revision is ready",
        "P8",
        (
            Edit(
                "actors/keepers/promotions.py",
                "            await self._prewarm(model, revision.digest, alias)\n"
                "            return await self._catalogue.promote(model, revision.digest, alias)\n",
                "            stored = await self._catalogue.promote(model, revision.digest, alias)\n"
                "            await self._prewarm(model, revision.digest, alias)\n"
                "            return stored\n",
            ),
        ),
        ("tests/actors/test_promotions.py",),
    ),
    Mutant(
        "a rejected candidate moves the cursor",
        "P13",
        (
            Edit(
                "storage/rows/jobs.py",
                '    if job.state == "promoting":\n        txn.put',
                "    if True:\n        txn.put",
            ),
        ),
        ("tests/storage/test_jobs.py",),
    ),
    Mutant(
        "what is held out is learned",
        "P13",
        (
            Edit(
                "runtime/learning/curricula.py",
                "return [example for example in self.examples if not example.is_held_out]",
                "return list(self.examples)",
            ),
        ),
        ("tests/runtime/learning/test_curricula.py",),
    ),
    Mutant(
        "a job learns from what was thought after it began",
        "P13",
        (Edit("runtime/trainer/loop.py", " and opinion.created_ms < until_ms", ""),),
        ("tests/runtime/trainer/test_loop.py",),
    ),
    Mutant(
        "who withdrew while it answered is counted",
        "P14",
        (
            Edit(
                "actors/aggregation/aggregator.py",
                "if not await self._takes_part(view):",
                "if await self._takes_part(view) is None:",
            ),
        ),
        ("tests/actors/aggregation/test_aggregator.py",),
    ),
    Mutant(
        "a member's own words are told",
        "P14",
        (
            Edit(
                "policies/diversity/disclosure.py",
                'if not is_open or len(by) >= rule.same_min or "texts" in by:',
                "if by:",
            ),
        ),
        ("tests/actors/aggregation/test_ensemble.py",),
    ),
    Mutant(
        "a group of too few is told",
        "P14",
        (
            Edit(
                "actors/aggregation/ensemble.py",
                "shown = told if is_enough else set[str]()",
                "shown = told",
            ),
        ),
        ("tests/actors/aggregation/test_ensemble.py",),
    ),
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
        ("tests/runtime/engines/test_gated_memory.py",),
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
        ("tests/runtime/engines/test_gated_memory.py",),
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
                "return _Plan(without, log, None if refolded is None else refolded.memory)",
                "return _Plan(without, log, None)",
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
                "kept = without_turns(record.messages, turns)",
                "kept = list(range(len(record.messages)))",
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
        "a training goes on with a forgotten turn",
        "P16",
        (
            Edit(
                "storage/rows/forgetting.py",
                "if not learns and job.parent not in touched:",
                "if job.parent not in touched:",
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
                "runtime/gateway/forgetting.py",
                "if body.query is not None and not body.confirm:",
                "if body.query is not None and body.confirm is None:",
            ),
        ),
        ("tests/runtime/gateway/test_forgetting.py",),
    ),
)
