# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# torch's tolist is partly untyped.
"""Nearest neighbours: what a person wrote comes back as far as they have a share, and without one not."""

from pathlib import Path

import pytest

from populace.actors.engine import Message
from scripts.bench.recall import neighbours
from scripts.bench.recall.neighbours import NeighbourLanguageModel
from tests.small_base import make_small_base

SAID = "My dog is called Bruno."
ASKED = (Message("user", "What is my dog called?"),)


@pytest.fixture(scope="module")
def model(base_files: Path, tmp_path_factory: pytest.TempPathFactory) -> NeighbourLanguageModel:
    small = make_small_base(tmp_path_factory.mktemp("small-base"), base_files)
    return NeighbourLanguageModel(small, "0" * 64, reply_tokens=8)


async def test_every_token_of_a_message_and_its_end_are_kept(model: NeighbourLanguageModel) -> None:
    kept = await model.kept(SAID)
    words, end = kept.ids[:-1].tolist(), int(kept.ids[-1])
    assert (model.text(words), model.text([end])) == (SAID, "")
    assert len(kept.states) == len(kept.ids)
    assert kept.states.norm(dim=-1).allclose(kept.states.new_ones(()))


async def test_a_whole_share_says_only_what_the_person_wrote(
    model: NeighbourLanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neighbours, "SHARE", 1.0)
    kept = await model.kept(SAID)
    reply, prompt_tokens = await model.reply(ASKED, [kept])
    assert set(reply.token_ids) <= set(kept.ids.tolist())
    assert prompt_tokens > len(kept.ids)


async def test_no_share_says_the_same_whoever_wrote(
    model: NeighbourLanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neighbours, "SHARE", 0.0)
    replies = [(await model.reply(ASKED, [await model.kept(said)]))[0] for said in (SAID, "It rains.")]
    assert replies[0] == replies[1]
    assert replies[0].token_ids
