// Prometheus' text format, and what the console reads from it.
const LINE = /^(\w+)(?:\{(.*)\})? ([-+\w.]+)$/;
const LABEL = /(\w+)="((?:[^"\\]|\\.)*)"/g;

/** Read samples: name → [{labels, value}]. */
export function parsed(text) {
  const found = new Map();
  for (const line of text.split("\n")) {
    const parts = line.startsWith("#") ? null : LINE.exec(line);
    if (!parts) continue;
    const labels = Object.fromEntries(
      [...(parts[2] ?? "").matchAll(LABEL)].map(([, name, value]) => [name, value]),
    );
    if (!found.has(parts[1])) found.set(parts[1], []);
    found.get(parts[1]).push({ labels, value: Number(parts[3]) });
  }
  return found;
}

export const all = (samples, name) => samples.get(name) ?? [];

/** The sum of a metric's samples, of those that `fits` says. */
export const total = (samples, name, fits = () => true) =>
  all(samples, name).reduce((sum, one) => (fits(one.labels) ? sum + one.value : sum), 0);

/** A metric's samples by one of their labels. */
export const by = (samples, name, label) =>
  new Map(all(samples, name).map((one) => [one.labels[label], one.value]));

/** Whether a series of a counter fell or went between two moments: what counts has started anew. */
export function fell(before, after, name) {
  const series = (samples) =>
    new Map(all(samples, name).map(({ labels, value }) => [JSON.stringify(labels), value]));
  const now = series(after);
  return [...series(before)].some(([labels, value]) => (now.get(labels) ?? 0) < value);
}

/**
 * What lies below a share of a histogram's values, of all its series, between two moments; null if there
 * were none.
 *
 * If what counts started anew in between, all that it has counted since is looked at.
 */
export function quantile(after, before, name, share) {
  const counted = (samples) => {
    const found = new Map();
    for (const { labels, value } of all(samples, `${name}_bucket`)) {
      const edge = Number(labels.le.replace("+Inf", "Infinity"));
      found.set(edge, (found.get(edge) ?? 0) + value);
    }
    return found;
  };
  const isWhole = before === null || fell(before, after, `${name}_bucket`);
  const [now, then] = [counted(after), isWhole ? new Map() : counted(before)];
  const edges = [...now.keys()].sort((one, other) => one - other);
  const below = (edge) => now.get(edge) - (then.get(edge) ?? 0);
  const most = edges.length ? below(edges.at(-1)) : 0;
  if (!most) return null;
  let [lower, passed] = [0, 0];
  for (const edge of edges) {
    const here = below(edge);
    if (here >= share * most)
      return edge === Infinity
        ? lower
        : lower + ((share * most - passed) / Math.max(1e-9, here - passed)) * (edge - lower);
    [lower, passed] = [edge, here];
  }
  return lower;
}
