"""Packed adapters for those who only store them: of no base, and different where the seed is."""

from populace.storage.packed.adapter import pack_adapter
from populace.storage.packed.layout import Factor

COLUMNS = 6


def packed(seed: str = "one", *, bytes_min: int = 0) -> bytearray:
    """A packed adapter of one module whose configuration says the seed; of ``bytes_min`` bytes or more."""
    rows = 1 + bytes_min // (4 * COLUMNS)
    matrix = (seed.encode() * (4 * COLUMNS * rows))[: 4 * COLUMNS * rows]
    # Letters are finite floats.
    return pack_adapter(
        {("model.layers.0.q_proj", side): matrix for side in ("A", "B")},
        [Factor("model.layers.0.q_proj", side, (rows, COLUMNS), "F32", 1.0) for side in ("A", "B")],
        base=None,
        config=f'{{"note": "{seed}"}}'.encode(),
    )
