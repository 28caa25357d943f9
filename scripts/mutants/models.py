"""Faults against P8 to P10: loss is answered, models and tenants stay apart, erased is erased."""

from scripts.mutants.mutant import Edit, Mutant

FAULTS = (
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
        ("tests/runtime/engines/bfloat16/test_wrong_model.py",),
    ),
    Mutant(
        "tenants find each other's cached prompts",
        "P9",
        (Edit("runtime/engines/vllm_values.py", "{weights}\\0{request.owner.name}", "{weights}"),),
        ("tests/runtime/engines/bfloat16/test_wrong_model.py",),
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
)
