// A request by its id: what the server's processes have logged of it.
import { get } from "./api.mjs";
import { Loaded, useLoaded } from "./loading.mjs";
import { at, go } from "./places.mjs";
import { html } from "./view.mjs";
import { clock, count, moment } from "./words.mjs";

const ID = "[A-Za-z0-9._:\\-]{1,128}";
const TONE = { warning: "warm", error: "bad", critical: "bad" };

export function RequestPage({ id }) {
  return html`<section><div class="head"><h1 class="grow">A request</h1>
      <a href=${at("system")}>Back to the system</a></div>
    <div class="stack"><${LookUp} id=${id} /><${Lines} id=${id} key=${id} /></div></section>`;
}

/** Go to a request whose id is typed. */
export function LookUp({ id = "" }) {
  const submit = (event) => {
    event.preventDefault();
    go("system", "requests", new FormData(event.target).get("id").trim());
  };
  return html`<section class="sheet stack"><header><h2>Look up a request</h2></header>
    <form class="row low" onSubmit=${submit}>
      <label class="grow">Request id<input name="id" required defaultValue=${id} key=${id} spellcheck=${false}
        autocapitalize="off" autocomplete="off" pattern=${ID} placeholder="req_…"
        title="1 to 128 letters, digits, dots, colons, hyphens and underscores"
        aria-describedby="id-help" /></label>
      <button class="main">Look up</button></form>
    <p class="hint" id="id-help">It is in the header <code>X-Request-Id</code> of every response, and below
      every error here. Only requests of this key's population are found.</p></section>`;
}

function Lines({ id }) {
  const found = useLoaded(
    (signal) => get(`/v1/requests/${encodeURIComponent(id)}`, { signal }),
    [id],
  );
  return html`<${Loaded} of=${found}>${({ lines, whole }) => html`<section class="sheet flush">
    <header><h2>Its log</h2><span class="quiet small">
      ${count(lines.length, "line")}, ${moment(Date.parse(lines[0].at) / 1000)}</span></header>
    ${
      !whole &&
      html`<p class="hint padded">The search ended before it had read all logs: the newest lines are here.
      <code> populace logs --request</code> on the server reads everything.</p>`
    }
    <ol class="log">${lines.map(
      (line, index) => html`<li key=${index}>
      <time datetime=${line.at} class="numbers quiet">${clock(line.at)}</time>
      <span class="quiet">${line.process}-${line.number}</span>
      <span class=${`chip ${TONE[line.level] ?? ""}`}>${line.level}</span>
      <span class="message">${line.message}
        ${line.error_code && html` <code>${line.error_code}</code>`}
        ${line.raised && html` <code>${line.raised}</code>`}
        <span class="small quiet"> ${line.logger.replace(/^populace\./, "")}</span></span></li>`,
    )}</ol></section>`}</${Loaded}>`;
}
