"""Faults against P1 to P5: turns are durable, take effect once, and have one writer."""

from scripts.mutants.mutant import Edit, Mutant

FAULTS = (
    Mutant(
        "sync=False",
        "P1",
        (
            Edit(
                "storage/shards/environments.py",
                "readahead=False,\n",
                "readahead=False,\n            sync=False,\n",
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
                "from populace.storage.records.errors import ModelNotFound, PositionConflict, "
                "RevisionNotFound\n",
                "from populace.storage.records import keys\n"
                "from populace.storage.records.errors import ModelNotFound, PositionConflict, "
                "RevisionNotFound\n",
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
        (Edit("runtime/engines/replica.py", "run = self._runs.get(target.stream_id)", "run = None"),),
        ("tests/runtime/engines/test_runs.py", "tests/runtime/engines/test_client.py"),
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
        "a claim of a journal is not written",
        "P3",
        (
            Edit(
                "storage/journal/shard_journal.py",
                "        try:\n            self.send(claim)\n",
                "        try:\n            pass\n",
            ),
        ),
        ("tests/storage/test_journal.py",),
    ),
    Mutant(
        "a segment whose number is taken counts as written",
        "P3",
        (
            Edit(
                "storage/journal/shard_journal.py",
                "        if not is_written and there != prepared.content:\n",
                "        if False:\n",
            ),
        ),
        ("tests/storage/test_journal.py",),
    ),
    Mutant(
        "data keys follow the segment that needs them",
        "P1",
        (
            Edit(
                "storage/journal/shipping.py",
                "            self._journal.write_keys(wrapped_keys(writer))\n",
                "            pass\n",
            ),
        ),
        ("tests/storage/test_journal.py",),
    ),
    Mutant(
        "claims are removed with the segments around them",
        "P3",
        (
            Edit(
                "storage/journal/shard_journal.py",
                "if found.size > CLAIM_BYTES_MAX or not self.is_claim(place):",
                "if True:",
            ),
        ),
        ("tests/storage/test_journal.py",),
    ),
)
