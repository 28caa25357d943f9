// The lineage of a model: which revision came from which, which one is served, and going back to another.
import { get, path, post, put, remove } from "./api.mjs";
import { confirm } from "./dialogs.mjs";
import { Difference } from "./difference.mjs";
import { Form } from "./forms.mjs";
import { placed } from "./lanes.mjs";
import { Empty, Loaded, useLoaded } from "./loading.mjs";
import { attempt, say } from "./notices.mjs";
import { at } from "./places.mjs";
import { html, useState } from "./view.mjs";
import { ago, bytes, count, decimal, moment, short } from "./words.mjs";

const ROW = 76;
const LANE = 22;

const x = (lane) => 11 + lane * LANE;
const y = (row) => 30 + row * ROW;

export default function Revisions({ model, reload }) {
  const loaded = useLoaded(
    (signal) => get(path(model.id, "/revisions"), { signal }),
    [model.id, model.aliases.latest],
  );
  const [chosen, setChosen] = useState(null);
  const changed = () => {
    loaded.reload();
    reload();
  };
  return html`<${Loaded} of=${loaded}>${({ data }) => {
    if (!data.length) {
      return html`<${Empty} title=${`${model.id} is served by the base`}>
        <p>A training makes a revision of its own from what was corrected and liked.</p>
        <a class="button" href=${at("people", model.id, "training")}>To training</a></${Empty}>`;
    }
    const open =
      data.find((revision) => revision.id === chosen) ??
      data.find((revision) => revision.id === model.aliases.latest) ??
      data.at(-1);
    return html`<div class="pair">
      <section class="sheet"><header><h2>Lineage</h2>
        <span class="quiet small">${count(data.length, "revision")}, the newest first</span></header>
        <${Tree} data=${data} aliases=${model.aliases} open=${open} choose=${setChosen} /></section>
      <${Revision} revision=${open} model=${model} all=${data} changed=${changed} key=${open.id} />
    </div>`;
  }}</${Loaded}>`;
}

function Tree({ data, aliases, open, choose }) {
  const { rows, lanes } = placed(data);
  const height = (rows.length + 1) * ROW;
  const names = (id) =>
    Object.entries(aliases)
      .filter(([, digest]) => digest === id)
      .map(([alias]) => alias);
  return html`<div class="tree" style=${{ "--lanes": `${lanes * LANE + 8}px` }}>
    <svg width=${lanes * LANE + 8} height=${height} aria-hidden="true">
      ${rows.map(
        ({ row, lane, parentRow, parentLane }) => html`<path fill="none" stroke="var(--line-strong)"
        stroke-width="1.5"
        d=${line(row, lane, parentRow, parentLane)} />`,
      )}
      ${rows.map(
        ({ row, lane, revision }) => html`<circle cx=${x(lane)} cy=${y(row)} r="6" stroke-width="2"
        stroke=${revision.id === aliases.latest ? "var(--accent)" : "var(--line-strong)"}
          fill=${revision.id === aliases.latest ? "var(--accent)" : "var(--sheet)"} />`,
      )}
      <circle cx=${x(0)} cy=${y(rows.length)} r="4" fill="var(--line-strong)" />
    </svg>
    <ol>${rows.map(
      ({ revision }) => html`<li key=${revision.id} style=${{ height: `${ROW}px` }}>
      <button class="plain" aria-pressed=${revision.id === open.id ? "true" : "false"}
        onClick=${() => choose(revision.id)}>
        <span class="row"><code>${short(revision.id)}</code>
          ${names(revision.id).map(
            (alias) => html`<span class=${alias === "latest" ? "chip accent" : "chip"}>
          ${alias === "latest" ? "served" : alias}</span>`,
          )}
          ${revision.readiness !== "ready" && html`<span class="chip warm">${revision.readiness}</span>`}
          ${revision.lineage?.objections.length > 0 && html`<span class="chip bad">objections</span>`}</span>
        <span class="small quiet">
          ${revision.method} ·
          ${` ${ago(revision.created)}`}${revision.parent ? ` · from ${short(revision.parent)}` : ""}</span>
      </button></li>`,
    )}
      <li class="small quiet base" style=${{ height: `${ROW}px` }}>the base</li></ol>
  </div>`;
}

function Revision({ revision, model, all, changed }) {
  const { id } = model;
  const isServed = model.aliases.latest === revision.id;
  const [other, setOther] = useState(null);
  const serve = async () => {
    const agreed = await confirm({
      title: `Serve ${short(revision.id)}?`,
      text: `${id} is served by it from the next turn on.`,
      action: "Serve it",
    });
    if (agreed && (await attempt(() => put(path(id, "/aliases/latest"), { revision: revision.id })))) {
      say(`${id} is served by ${short(revision.id)}.`);
      changed();
    }
  };
  const back = async () => {
    const to = revision.parent ? short(revision.parent) : "the base";
    const agreed = await confirm({
      title: `Roll back to ${to}?`,
      text: "The revision stays in the lineage. What it had learned is due again for the next training.",
      action: "Roll back",
    });
    if (agreed && (await attempt(() => post(path(id, "/rollback"), { revision: revision.id })))) {
      say(`${id} is served by ${to}.`);
      changed();
    }
  };
  const name = async (fields) => {
    const alias = encodeURIComponent(fields.get("alias").trim());
    await put(path(id, `/aliases/${alias}`), { revision: revision.id });
    changed();
  };
  const unname = async (alias) =>
    (await attempt(() => remove(path(id, `/aliases/${encodeURIComponent(alias)}`)))) && changed();
  const aliases = Object.entries(model.aliases).filter(
    ([alias, digest]) => digest === revision.id && alias !== "latest",
  );
  return html`<div class="stack">
    <section class="sheet">
      <header><h2><code>${short(revision.id)}</code></h2>
        ${
          isServed
            ? html`<span class="chip accent">served</span>`
            : html`<button class="main"
        onClick=${serve}>Serve it</button>`
        }
        ${isServed && html`<button onClick=${back}>Roll back</button>`}</header>
      <p class="facts"><span title=${moment(revision.created)}>made <b>${ago(revision.created)}</b></span>
        <span>by <b>${revision.method}</b></span>
        <span>rank <b>${revision.rank}</b></span><span><b>${bytes(revision.bytes)}</b></span></p>
      <${Scores} lineage=${revision.lineage}
        parent=${all.find((one) => one.id === revision.parent)?.lineage} />
      <${Form} class="row" send=${name}>
        <input name="alias" class="grow" required placeholder="Another name for it: canary" aria-label="Alias"
        spellcheck=${false} autocapitalize="off" />
        <button>Name it</button></${Form}>
      ${
        aliases.length > 0 &&
        html`<div class="row">
        ${aliases.map(
          ([alias]) => html`<span class="chip" key=${alias}>${alias}
        <button class="tiny" aria-label=${`Remove the name ${alias}`}
          onClick=${() => unname(alias)}>✕</button></span>`,
        )}</div>`
      }
      <p class="small quiet mono">${revision.id}</p>
    </section>
    <section class="sheet"><header><h2>Compare</h2>
      <select aria-label="Compare with" value=${other ?? ""}
        onChange=${(event) => setOther(event.target.value || null)}>
        <option value="">with…</option><option value="base">the base</option>
        ${all
          .filter((one) => one.id !== revision.id)
          .map(
            (one) => html`<option key=${one.id} value=${one.id}>
          ${short(one.id)}${one.id === revision.parent ? " (parent)" : ""}</option>`,
          )}
      </select></header>
      ${
        other
          ? html`<${Difference} name=${id} one=${revision.id} other=${other} key=${other} />`
          : html`<p class="hint">Where the weights of two revisions differ, layer by layer.</p>`
      }
    </section>
  </div>`;
}

/** What the gate measured, beside the parent's, and why it objected. */
function Scores({ lineage, parent }) {
  if (!lineage) return html`<p class="hint">It was imported: nothing judged it here.</p>`;
  const scores = Object.entries(lineage.scores);
  return html`${
    lineage.objections.length > 0 &&
    html`<ul class="objections">
    ${lineage.objections.map((why) => html`<li>${why}</li>`)}</ul>`
  }
    <p class="facts"><span>learned turns <b>${lineage.log_range[0]}–${lineage.log_range[1]}</b></span>
      <span><b>${count(lineage.tokens, "token")}</b></span></p>
    ${
      scores.length > 0 &&
      html`<details open=${scores.length < 9}>
      <summary class="small quiet">${count(scores.length, "score")}</summary><div class="scrolls"><table>
      <thead><tr><th scope="col">score</th><th scope="col" class="number">this</th>
        ${parent && html`<th scope="col" class="number">parent</th>`}</tr></thead>
      <tbody>${scores.map(
        ([key, value]) => html`<tr key=${key}><td>${key.replaceAll("_", " ")}</td>
        <td class="number">${decimal(value)}</td>
        ${parent && html`<td class="number quiet">${decimal(parent.scores[key])}</td>`}</tr>`,
      )}</tbody>
          </table></div></details>`
    }`;
}

/** A line from a revision down to its parent: it changes lanes within one row. */
function line(row, lane, parentRow, parentLane) {
  const turned = Math.min(parentRow, row + 1);
  const [from, to] = [x(lane), x(parentLane)];
  const bend = `C${from} ${y(row + 0.7)} ${to} ${y(turned - 0.7)} ${to} ${y(turned)}`;
  return `M${from} ${y(row)}${bend}V${y(parentRow)}`;
}
