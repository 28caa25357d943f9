// The population: who takes part, and what they say together.
import { get } from "./api.mjs";
import { Ask } from "./votes.mjs";
import { Landscape } from "./landscape.mjs";
import { Empty, Loaded, useLoaded } from "./loading.mjs";
import { at } from "./places.mjs";
import { Bar, Face, html, useState } from "./view.mjs";
import { ago, count, percent, short, whole } from "./words.mjs";

const SHOWN = 100;

/** Of a large population every pair is compared. */
const REPORT_MS = 120000;

export default function Population() {
  const members = useLoaded((signal) => get("/v1/population/members", { signal }), []);
  return html`<section><div class="head"><h1 class="grow">Population</h1></div>
    <${Loaded} of=${members}>${({ data }) =>
      data.length
        ? html`<div class="stack"><${Ask} members=${data} /><${Members} members=${data} />
          <${Advanced} /></div>`
        : html`<${Empty} title="Nobody takes part yet">
        <p>Whoever shares their votes or texts can be asked together with the others, and many may know
          more than one.
        Open a person, go to Sharing and erasing, and choose what is shared.</p>
          <a class="button" href=${at("people")}>To the people</a></${Empty}>`}
    </${Loaded}></section>`;
}

/** The map: every pair of members is compared for it, so it waits for a wish. */
function Advanced() {
  const [open, setOpen] = useState(false);
  return html`<details onToggle=${(event) => setOpen(event.target.open)}>
    <summary>Advanced: who answers alike</summary>${open && html`<${Likeness} />`}</details>`;
}

function Likeness() {
  const report = useLoaded((signal) => get("/v1/population/report", { signal }), [], {
    limitMs: REPORT_MS,
  });
  return html`<${Loaded} of=${report}>${(found) => html`<${Landscape} report=${found} />`}</${Loaded}>`;
}

function Members({ members }) {
  const [shown, setShown] = useState(SHOWN);
  const profiled = members.filter((member) => member.profiled).length;
  const texts = members.filter((member) => member.sharing === "texts").length;
  return html`<section class="sheet flush"><header><h2>Who takes part</h2>
    <span class="quiet small">
      ${count(members.length, "member")}: ${whole(texts)} share texts,
      ${` ${whole(members.length - texts)}`} only votes; ${whole(profiled)} known by their answers to
      probes</span></header>
    <div class="scrolls" tabindex="0" role="region" aria-label="Who takes part">
      <table><thead><tr><th scope="col">person</th><th scope="col">shares</th>
      <th scope="col">revision</th><th scope="col">right on the probes</th>
      <th scope="col">since</th></tr></thead>
    <tbody>${members.slice(0, shown).map(
      (member) => html`<tr key=${member.model}>
      <td><a class="row" href=${at("people", member.model)}><${Face} name=${member.model} />
      ${member.model}</a></td>
      <td><span class=${member.sharing === "texts" ? "chip accent" : "chip"}>${member.sharing}</span></td>
        <td><code class="small">${short(member.revision)}</code></td>
      <td>${
        member.accuracy === null
          ? html`<span class="quiet small">not known yet</span>`
          : html`<span
        class="row"><${Bar} share=${member.accuracy} label=${percent(member.accuracy)} />
        <span class="numbers small">${percent(member.accuracy)}</span></span>`
      }</td>
      <td class="quiet small">${ago(member.since)}</td></tr>`,
    )}</tbody></table></div>
    ${
      members.length > shown &&
      html`<p class="more"><button onClick=${() => setShown(shown + 10 * SHOWN)}>
      Show more of ${whole(members.length)}</button></p>`
    }</section>`;
}
