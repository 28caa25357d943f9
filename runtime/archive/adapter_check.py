"""Checks adapters from outside, and packs them, in a process of its own.

Torch and transformers take seconds and half a gigabyte, which a gateway that streams tokens cannot
spare. A program: reads ``Check`` as JSON from standard input, writes ``Outcome`` to standard output.
"""

import subprocess
import sys
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from populace.actors.errors import AdapterInvalid, AdapterMismatch
from populace.settings.environment import process_environment
from populace.settings.signals import end_with_parent
from populace.storage.adapter_store import AdapterStore

SECONDS_MAX = 600


class Unpacked(BaseModel):
    """An adapter's PEFT directory, and the packed file to write from it, if any."""

    model_config = ConfigDict(frozen=True)

    directory: Path
    pack_to: Path | None


class Check(BaseModel):
    """The adapters to check, and the store in which they would have to fit."""

    model_config = ConfigDict(frozen=True)

    adapters: tuple[Unpacked, ...]
    store: AdapterStore


class Outcome(BaseModel):
    """Each adapter's largest rank, or why one cannot be used; ``is_mismatch``: it is for another base."""

    model_config = ConfigDict(frozen=True)

    ranks: tuple[int, ...] = ()
    refusal: str | None = None
    is_mismatch: bool = False


def check_adapters(check: Check) -> tuple[int, ...]:
    """Check the adapters, pack those that name a file, and return their ranks. Blocks for seconds.

    Raises ``AdapterInvalid`` and ``AdapterMismatch``.
    """
    # Torch and transformers load here.
    from populace.adapters.base_modules import read_base_modules
    from populace.adapters.packing import pack_peft_adapter
    from populace.adapters.peft_directory import read_peft_directory

    base = read_base_modules(check.store.base_directory, check.store.fingerprint)
    ranks: list[int] = []
    for adapter in check.adapters:
        checked = read_peft_directory(adapter.directory, base, rank_max=check.store.rank_max)
        if adapter.pack_to is not None:
            adapter.pack_to.write_bytes(pack_peft_adapter(checked, base))
        ranks.append(checked.rank)
    return tuple(ranks)


def check_adapters_apart(check: Check) -> tuple[int, ...]:
    """Run ``check_adapters`` in another process."""
    done = subprocess.run(
        [sys.executable, "-m", "populace.archive.adapter_check"],
        input=check.model_dump_json(),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=SECONDS_MAX,
        env=process_environment(OMP_NUM_THREADS="1"),
    )
    # A library may have printed before.
    outcome = Outcome.model_validate_json(done.stdout.splitlines()[-1])
    if outcome.refusal is not None:
        raise (AdapterMismatch if outcome.is_mismatch else AdapterInvalid)(outcome.refusal)
    return outcome.ranks


def main() -> None:
    end_with_parent()
    check = Check.model_validate_json(sys.stdin.read())
    try:
        outcome = Outcome(ranks=check_adapters(check))
    except AdapterInvalid as error:
        outcome = Outcome(refusal=error.reason, is_mismatch=isinstance(error, AdapterMismatch))
    sys.stdout.write(f"\n{outcome.model_dump_json()}\n")


if __name__ == "__main__":
    main()
