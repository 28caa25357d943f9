// The trace of a request: what each process did, below what it was a part of, and when.
import { html } from "./view.mjs";
import { count, lasting } from "./words.mjs";

const DEPTH_MAX = 8;
const ROOMS = /^(gen_ai\.(request|response|usage)|http\.response|populace)\./;

/** The roles of the table are written out: on a phone its rows are no longer laid out as those of one. */
export function Trace({ spans }) {
  if (!spans.length)
    return html`<section class="sheet stack"><header><h2>Its trace</h2></header>
      <p class="hint">There is none. It has not been written yet, its file has made room for newer ones, it
      was not sampled, or the server was started with <code> POPULACE_TELEMETRY=off</code>.</p></section>`;
  const whole = Math.max(...spans.map((span) => span.began_ms + span.ms)) || 1;
  return html`<section class="sheet flush"><header><h2>Its trace</h2><span class="quiet small">
      ${count(spans.length, "span")} in ${took(whole)}</span></header>
    <div class="scrolls" tabindex="0" role="region" aria-label="Its trace"><table class="trace" role="table">
      <thead role="rowgroup"><tr role="row">
      <th role="columnheader">what</th><th role="columnheader">process</th>
      <th role="columnheader" class="number">after</th><th role="columnheader" class="number">took</th>
      <th role="columnheader" class="when">when</th></tr></thead>
      <tbody role="rowgroup">${inTree(spans).map(
        ({ span, depth }) => html`<tr role="row" key=${span.id}
          style=${{ "--depth": String(Math.min(depth, DEPTH_MAX)) }}>
        <td role="cell" class="name"><${Name} span=${span} /></td>
        <td role="cell" class="quiet whole">${span.process}-${span.number}</td>
        <td role="cell" class="number whole">${took(span.began_ms)}</td>
        <td role="cell" class="number whole">${took(span.ms)}</td>
        <td role="cell" class="when"><div class=${span.error ? "bar bad" : "bar"} role="img"
          aria-label=${`from ${part(span.began_ms, whole)} % to ${part(span.began_ms + span.ms, whole)} %`}
          style=${{
            "--start": String(span.began_ms / whole),
            "--share": String(span.ms / whole),
          }}><i /></div></td></tr>`,
      )}</tbody></table></div></section>`;
}

function Name({ span }) {
  const told = Object.entries(span.attributes).map(([name, value]) => `${name.replace(ROOMS, "")} ${value}`);
  return html`<code>${span.name}</code>${span.error && html` <span class="chip bad">${span.error}</span>`}
    ${told.length > 0 && html`<span class="small quiet told">${told.join(", ")}</span>`}`;
}

/** Put each span after what it is a part of, by their beginnings: [{span, depth}]. */
function inTree(spans) {
  const below = new Map();
  for (const span of spans) {
    if (!below.has(span.parent)) below.set(span.parent, []);
    below.get(span.parent).push(span);
  }
  const rows = [];
  const walk = (parent, depth) => {
    for (const span of below.get(parent) ?? []) {
      rows.push({ span, depth });
      walk(span.id, depth + 1);
    }
  };
  walk(null, 0);
  return rows;
}

const took = (ms) => (ms < 1000 ? `${ms.toFixed(1)} ms` : lasting(ms / 1000));
const part = (ms, whole) => Math.round((100 * ms) / whole);
