"""Faults against P13 and P14: what a training may learn and promote, and what a population may tell."""

from scripts.mutants.mutant import Edit, Mutant

FAULTS = (
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
        (Edit("runtime/trainer/log_data.py", " and opinion.created_ms < until_ms", ""),),
        ("tests/runtime/trainer/test_loop.py",),
    ),
    Mutant(
        "a personal part is promoted though the lower revision is better alone",
        "P13",
        (
            Edit(
                "policies/evaluation_gate.py",
                "if on.share and gain + allowed >= 0.0:",
                "if on.share >= 0.0:",
            ),
        ),
        ("tests/policies/test_evaluation_gate.py",),
    ),
    Mutant(
        "a personal part changes the lower revision",
        "P13",
        (
            Edit(
                "runtime/adapters/lora/layer.py",
                "torch.cat([self.kept.b, b_OR * (self.scaling / self.kept.scaling)], dim=1)",
                "torch.cat([self.kept.b * (self.kept.scaling / self.scaling), b_OR], dim=1)",
            ),
        ),
        ("tests/runtime/adapters/lora/test_concatenation.py",),
    ),
    Mutant(
        "a community keeps what was withdrawn while it learned",
        "P14",
        (Edit("runtime/trainer/loop.py", "if not await self._may_end(training):", "if training is None:"),),
        ("tests/runtime/trainer/test_community_job.py",),
    ),
    Mutant(
        "a community learns what one person alone told",
        "P14",
        (Edit("policies/community.py", " and not told.private_in(reply)", ""),),
        ("tests/policies/test_community.py",),
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
)
