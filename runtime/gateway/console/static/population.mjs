// The population: who takes part, and what they say together.
import { get } from "./api.mjs";
import { Ask } from "./votes.mjs";
import { Empty, Loaded, useLoaded } from "./loading.mjs";
import { at } from "./places.mjs";
import { Bar, Face, html } from "./view.mjs";
import { ago, count, percent, short } from "./words.mjs";

export default function Population() {
  const members = useLoaded((signal) => get("/v1/population/members", { signal }), []);
  return html`<section><div class="head"><h1 class="grow">Population</h1></div>
    <${Loaded} of=${members}>${({ data }) =>
      data.length
        ? html`<div class="stack"><${Ask} members=${data} /><${Members} members=${data} /></div>`
        : html`<${Empty} title="Nobody takes part yet">
        <p>Whoever shares their votes or texts can be asked together with the others, and many may know
          more than one.
        Open a person, go to Sharing and erasing, and choose what is shared.</p>
          <a class="button" href=${at("people")}>To the people</a></${Empty}>`}
    </${Loaded}></section>`;
}

function Members({ members }) {
  const profiled = members.filter((member) => member.profiled).length;
  return html`<section class="sheet flush"><header><h2>Who takes part</h2>
    <span class="quiet small">
      ${count(members.length, "member")}, ${profiled} known by their answers to probes</span></header>
    <div class="scrolls"><table><thead><tr><th scope="col">person</th><th scope="col">shares</th>
      <th scope="col">revision</th><th scope="col">right on the probes</th>
      <th scope="col">since</th></tr></thead>
    <tbody>${members.map(
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
    )}</tbody></table></div></section>`;
}
