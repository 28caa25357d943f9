// The map of a population: who answers the probes alike, in clusters, and what more voters are worth.
import { at, go } from "./places.mjs";
import { Empty } from "./loading.mjs";
import { Bar, html, useMemo, useState } from "./view.mjs";
import { count, decimal, percent, whole } from "./words.mjs";

const WIDTH = 640;
const HEIGHT_MAX = 400;
const EDGE = 40;
/** Members that are nearer than this are in one place. */
const ALIKE = 1e-6;
const GOLDEN = 2.399963;
const LABELLED_MAX = 16;
const LABEL_WIDTH = 150;
const LABEL_HEIGHT = 20;
const NAMED_MAX = 24;
const ARROWS = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] };

const hue = (cluster) => ({ "--hue": String((30 + cluster * 137.5) % 360) });
const title = (cluster) => `Cluster ${cluster + 1}`;

export function Landscape({ report }) {
  const [wanted, setWanted] = useState(null);
  // A report that is loaded again may have fewer clusters.
  const cluster = report.members.some((member) => member.cluster === wanted) ? wanted : null;
  if (!report.members.length)
    return html`<section class="sheet"><${Empty} title="No map yet">
      <p>The trainer asks each member forty short questions once it takes part, and again after each new
        revision. Who answers alike is near each other then. ${waiting(report)}</p></${Empty}></section>`;
  return html`<section class="sheet stack"><header><h2>Who answers alike</h2>
      <span class="quiet small">${count(report.members.length, "member")} in
      ${` ${count(report.clusters, "cluster")}`}</span></header>
    ${
      areAlike(report.members)
        ? html`<p class="hint">All of them answer the probes alike, so a map would be one point. They differ
          once they were trained.</p>`
        : html`<${Places} members=${report.members} cluster=${cluster} />`
    }
    <${Clusters} members=${report.members} chosen=${cluster} choose=${setWanted} />
    <${Facts} report=${report} />
    ${report.curve.length > 1 && html`<${Voters} report=${report} />`}
  </section>`;
}

const areAlike = ([first, ...others]) =>
  others.length > 0 && others.every(({ x, y }) => Math.hypot(x - first.x, y - first.y) < ALIKE);

/** The members as points: arrows go from one to the next, Enter opens a person. */
function Places({ members, cluster }) {
  const points = useMemo(() => placed(members), [members]);
  // By name: the members may be others once they are loaded again.
  const [name, setName] = useState(null);
  const chosen = points.find((point) => point.model === name) ?? null;
  const radius = size(members);
  const keys = (event) => {
    if (event.key === "Enter" && chosen) go("people", chosen.model);
    else if (event.key === "Escape") setName(null);
    else if (event.key === "Home") setName(points[0].model);
    else if (event.key === "End") setName(points.at(-1).model);
    else if (ARROWS[event.key]) setName(next(points, chosen, ARROWS[event.key]).model);
    else return;
    event.preventDefault();
  };
  const named = points.length <= LABELLED_MAX ? legible(points) : chosen ? [chosen] : [];
  const { left, top, width, height } = frame(points);
  const beside = left + width * 0.75;
  return html`<figure class="map">
    <svg viewBox=${`${left} ${top} ${width} ${height}`} role="listbox" tabindex="0" onKeyDown=${keys}
      aria-label="Map: members are near each other if they answer alike"
      aria-activedescendant=${chosen ? `place-${points.indexOf(chosen)}` : undefined}>
      ${points.map(
        (point, index) => html`<circle key=${point.model} id=${`place-${index}`} role="option"
        cx=${point.left} cy=${point.top} r=${radius * (0.6 + point.accuracy)} style=${hue(point.cluster)}
        class=${cluster === null || cluster === point.cluster ? "" : "faded"}
        aria-selected=${point === chosen ? "true" : "false"} aria-label=${described(point)}
        onClick=${() => setName(point.model)}><title>${described(point)}</title></circle>`,
      )}
      ${named.map(
        (point) => html`<text key=${point.model} aria-hidden="true" y=${point.top + 4}
        x=${point.left + (point.left > beside ? -10 : 10)}
        text-anchor=${point.left > beside ? "end" : "start"}>${point.model}</text>`,
      )}
    </svg>
    <figcaption class="small quiet" aria-live="polite">${
      chosen
        ? html`<a href=${at("people", chosen.model)}>${chosen.model}</a>${described(chosen).slice(
            chosen.model.length,
          )}`
        : "A larger point has more of the probes right. Choose one, or use the arrow keys."
    }</figcaption></figure>`;
}

const described = ({ model, cluster, accuracy, sharing }) =>
  `${model}: ${title(cluster).toLowerCase()}, ${percent(accuracy)} right, shares ${sharing}`;

/** Where each member is drawn. Those in one place, as all are that answer the same, are set apart. */
function placed(members) {
  const [xs, ys] = [members.map(({ x }) => x), members.map(({ y }) => y)];
  const [left, top] = [Math.min(...xs), Math.min(...ys)];
  const scale = Math.min(
    (WIDTH - 2 * EDGE) / Math.max(Math.max(...xs) - left, 1e-6),
    (HEIGHT_MAX - 2 * EDGE) / Math.max(Math.max(...ys) - top, 1e-6),
    4000,
  );
  const right = (WIDTH - (Math.max(...xs) - left) * scale) / 2;
  const taken = new Map();
  return members.map((member) => {
    const [x, y] = [right + (member.x - left) * scale, (member.y - top) * scale];
    const here = `${Math.round(x / 6)} ${Math.round(y / 6)}`;
    const before = taken.get(here) ?? 0;
    taken.set(here, before + 1);
    // A few have their names beside them, so they are below each other.
    if (members.length <= LABELLED_MAX) return { ...member, left: x, top: y + before * LABEL_HEIGHT };
    const [away, turn] = [1.8 * size(members) * Math.sqrt(before), before * GOLDEN];
    return { ...member, left: x + away * Math.cos(turn), top: y + away * Math.sin(turn) };
  });
}

/** What of the plane is shown: all points, and the whole width also if they need less. */
function frame(points) {
  const [lefts, tops] = [points.map((point) => point.left), points.map((point) => point.top)];
  const [left, top] = [Math.min(0, Math.min(...lefts) - EDGE), Math.min(...tops) - EDGE];
  const right = Math.max(WIDTH, Math.max(...lefts) + EDGE);
  return { left, top, width: right - left, height: Math.max(...tops) + EDGE - top };
}

const size = (members) => (members.length > 200 ? 3 : 5);

/** The points that can have their names beside them without one on another. */
function legible(points) {
  const kept = [];
  for (const point of points) {
    const covered = kept.some(
      (other) =>
        Math.abs(other.left - point.left) < LABEL_WIDTH && Math.abs(other.top - point.top) < LABEL_HEIGHT,
    );
    if (!covered) kept.push(point);
  }
  return kept;
}

/** The nearest point in a direction; the same one if there is none, and the first one from none. */
function next(points, from, [right, down]) {
  if (!from) return points[0];
  let [found, least] = [from, Infinity];
  for (const point of points) {
    const [x, y] = [point.left - from.left, point.top - from.top];
    const along = x * right + y * down;
    const across = Math.abs(x * down) + Math.abs(y * right);
    if (point === from || along < across || along + 2 * across >= least) continue;
    [found, least] = [point, along + 2 * across];
  }
  return found;
}

function Clusters({ members, chosen, choose }) {
  const groups = Map.groupBy(members, (member) => member.cluster);
  const sorted = [...groups].sort((one, other) => other[1].length - one[1].length).slice(0, NAMED_MAX);
  const shown = groups.get(chosen) ?? [];
  return html`<div class="stack"><ul class="row" aria-label="Clusters">${sorted.map(
    ([cluster, inside]) => html`<li key=${cluster}>
    <button class="plain cluster" aria-pressed=${cluster === chosen ? "true" : "false"}
      onClick=${() => choose(cluster === chosen ? null : cluster)}><i style=${hue(cluster)} />
      ${title(cluster)} <span class="numbers quiet">${whole(inside.length)}</span></button></li>`,
  )}</ul>
  ${
    groups.size > sorted.length && html`<p class="hint">The ${NAMED_MAX} largest clusters are named here.</p>`
  }
  ${
    shown.length > 0 &&
    html`<p class="small">${shown.slice(0, NAMED_MAX).map(
      ({ model }, index) => html`${index ? ", " : ""}<a key=${model}
      href=${at("people", model)}>${model}</a>`,
    )}${shown.length > NAMED_MAX && ` and ${whole(shown.length - NAMED_MAX)} more`}</p>`
  }</div>`;
}

function Facts({ report }) {
  return html`<p class="facts">
    ${
      report.disagreement !== null &&
      html`<span>a pair disagrees on <b>${percent(report.disagreement)}</b> of the probes</span>`
    }
    ${
      report.error_correlation !== null &&
      html`<span>errors correlate by <b>${decimal(report.error_correlation, 2)}</b></span>`
    }
    ${
      report.effective_members !== null &&
      html`<span>worth <b>${decimal(report.effective_members, 1)}</b> independent members</span>`
    }
    <span>best <b>${percent(report.best)}</b>, mean <b>${percent(report.mean)}</b> right</span>
    ${waiting(report) && html`<span>${waiting(report)}</span>`}
    ${
      report.profiled > report.members.length &&
      html`<span>the map has the first <b>${whole(report.members.length)}</b> by name</span>`
    }</p>`;
}

function Voters({ report }) {
  return html`<div class="stack"><h3>What more voters are worth</h3>
    <ol class="shares" aria-label="Right answers to probes by number of voters">${report.curve.map(
      ({ k, mean, low, high }) => html`<li key=${k}><span>${count(k, "voter")}</span>
      <${Bar} share=${mean} label=${`${percent(mean)}, from ${percent(low)} to ${percent(high)}`} />
      <span class="numbers small">${percent(mean)}</span></li>`,
    )}</ol></div>`;
}

const waiting = ({ total, profiled }) =>
  total > profiled ? `${count(total - profiled, "member")} not known yet.` : "";
