// Where the revisions of a lineage lie: the newest above, each child in its parent's lane or a new one.

/**
 * Place revisions. Returns rows newest first: {revision, row, lane, parentRow, parentLane}.
 *
 * The first child goes on in its parent's lane; each other one has a lane of its own.
 */
export function placed(given) {
  const revisions = parentsFirst(given);
  const lanes = new Map();
  const taken = new Set();
  const known = new Set(revisions.map((revision) => revision.id));
  let count = 0;
  for (const revision of revisions) {
    const parent = known.has(revision.parent) ? revision.parent : null;
    if (parent !== null && !taken.has(parent)) {
      taken.add(parent);
      lanes.set(revision.id, lanes.get(parent));
    } else {
      lanes.set(revision.id, count);
      count += 1;
    }
  }
  const rows = new Map(revisions.map((revision, index) => [revision.id, revisions.length - 1 - index]));
  const found = revisions.map((revision) => ({
    revision,
    row: rows.get(revision.id),
    lane: lanes.get(revision.id),
    parentRow: known.has(revision.parent) ? rows.get(revision.parent) : revisions.length,
    parentLane: known.has(revision.parent) ? lanes.get(revision.parent) : 0,
  }));
  return { rows: found.reverse(), lanes: Math.max(1, count) };
}

/** Order revisions by when they were made, and each one after its parent whatever the clock said. */
function parentsFirst(given) {
  const left = new Map(
    [...given].sort((one, other) => one.created - other.created).map((one) => [one.id, one]),
  );
  const ordered = [];
  const take = (revision) => {
    left.delete(revision.id);
    const parent = left.get(revision.parent);
    if (parent) take(parent);
    ordered.push(revision);
  };
  while (left.size) take(left.values().next().value);
  return ordered;
}
