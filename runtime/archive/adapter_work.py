"""Imports, merges and compares adapters in a process of its own, for a gateway.

Torch and transformers take seconds and half a gigabyte, which a process that streams tokens cannot
spare. A program: reads ``Work`` as JSON from standard input, writes its ``Result`` to standard output.
"""

import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from populace.actors.errors import AdapterInvalid, AdapterMismatch, InvalidRequest
from populace.actors.hosts import Revision
from populace.actors.merging import LayerDifference, MergeOptions
from populace.settings.environment import process_environment
from populace.settings.signals import end_with_parent
from populace.storage.adapter_store import AdapterStore
from populace.storage.records.errors import DiskRefused, PopulaceError

SECONDS_MAX = 600


class _OfStore(BaseModel):
    """Work on the adapters of a store; all paths are absolute."""

    model_config = ConfigDict(frozen=True)

    store: AdapterStore


class Importing(_OfStore):
    """Check an adapter that is a PEFT directory or a packed file, and store it packed."""

    kind: Literal["import"] = "import"
    adapter: Path
    now_ms: int


class Merging(_OfStore):
    """Merge revisions, which ``members`` maps from model names, and store the result.

    ``weights`` are those of ``weights_of``.
    """

    kind: Literal["merge"] = "merge"
    members: dict[str, str]
    weights: dict[str, float] | None
    options: MergeOptions
    now_ms: int


class Comparing(_OfStore):
    """Compare two revisions, given by digest; None is the base."""

    kind: Literal["compare"] = "compare"
    first: str | None
    second: str | None


Work = Annotated[Importing | Merging | Comparing, Field(discriminator="kind")]


class Made(BaseModel):
    """A stored revision. ``kept`` is that of ``MergedRevision``."""

    revision: Revision
    kept: float = 1.0


class Refusal(BaseModel):
    """An error of ours with its fields."""

    error: str
    values: tuple[str | None, ...]


class Result(BaseModel):
    """The result of the work: a revision, layers, or a refusal."""

    made: Made | None = None
    layers: tuple[LayerDifference, ...] | None = None
    refusal: Refusal | None = None


DoWork = Callable[[Importing | Merging | Comparing], Result]

REFUSALS: dict[str, type[PopulaceError]] = {
    error.__name__: error for error in (InvalidRequest, AdapterInvalid, AdapterMismatch, DiskRefused)
}
_WORK: TypeAdapter[Importing | Merging | Comparing] = TypeAdapter(Work)


def made_by(do_work: DoWork, work: Importing | Merging) -> Made:
    """Make a revision with ``do_work``. The caller protects it from removal."""
    made = do_work(work).made
    assert made is not None, "a revision comes of it, or an error"
    return made


@contextmanager
def merged_revision(do_work: DoWork, work: Merging) -> Generator[Made]:
    """Merge revisions; they and the new one are protected from removal during the block.

    Raises what ``do_work`` raises; nothing is stored then. Blocks.
    """
    with work.store.files().adding():
        yield made_by(do_work, work)


def compared_by(do_work: DoWork, work: Comparing) -> tuple[LayerDifference, ...]:
    """Compare two revisions, protected from removal meanwhile. Raises what ``do_work`` raises. Blocks."""
    with work.store.files().adding():
        layers = do_work(work).layers
    assert layers is not None, "layers come of it, or an error"
    return layers


def do_work(work: Importing | Merging | Comparing) -> Result:
    """Do the work in this process. Blocks for seconds; a revision that it stores is swept unless protected.

    Raises ``InvalidRequest``, ``AdapterInvalid``, ``AdapterMismatch`` and ``DiskRefused``; nothing is stored
    then.
    """
    match work:
        case Importing():
            return Result(made=_imported(work))
        case Merging():
            return Result(made=_merged(work))
        case Comparing():
            return Result(layers=_compared(work))


def _imported(work: Importing) -> Made:
    # Torch and transformers load here.
    from populace.adapters.publishing import imported_adapter

    with imported_adapter(work.adapter, work.store, now_ms=work.now_ms) as revision:
        return Made(revision=revision)


def _merged(work: Merging) -> Made:
    from populace.adapters.lora.merged_revision import merged_adapter
    from populace.adapters.lora.merging import weights_of

    with merged_adapter(
        list(work.members.values()),
        weights_of(work.weights, list(work.members)),
        work.options,
        work.store,
        now_ms=work.now_ms,
    ) as (revision, kept):
        return Made(revision=revision, kept=kept)


def _compared(work: Comparing) -> tuple[LayerDifference, ...]:
    from populace.adapters.lora.comparing import compare_stored

    return tuple(compare_stored(work.store, work.first, work.second))


def do_work_apart(work: Importing | Merging | Comparing) -> Result:
    """Run ``do_work`` in another process."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", "populace.archive.adapter_work"],
            input=work.model_dump_json(),
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            timeout=SECONDS_MAX,
            env=process_environment(OMP_NUM_THREADS="1"),
        )
    except subprocess.TimeoutExpired as error:
        raise InvalidRequest(
            f"The work on adapters took longer than {SECONDS_MAX} s and was ended."
        ) from error
    # A library may have printed before.
    result = Result.model_validate_json(done.stdout.splitlines()[-1])
    if result.refusal is not None:
        raise REFUSALS[result.refusal.error](*result.refusal.values)
    return result


def main() -> None:
    end_with_parent()
    work = _WORK.validate_json(sys.stdin.read())
    try:
        result = do_work(work)
    except tuple(REFUSALS.values()) as error:
        result = Result(refusal=Refusal(error=type(error).__name__, values=error.args))
    sys.stdout.write(f"\n{result.model_dump_json()}\n")


if __name__ == "__main__":
    main()
