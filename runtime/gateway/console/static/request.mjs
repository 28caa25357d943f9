// A request by its id: what the server's processes have logged of it, and its trace.
import { get } from "./api.mjs";
import { Loaded, useLoaded } from "./loading.mjs";
import { at, go } from "./places.mjs";
import { Trace } from "./trace.mjs";
import { html, useState } from "./view.mjs";
import { clock, count, moment } from "./words.mjs";

const ID = "[A-Za-z0-9._:\\-]{1,128}";
/** A search of the server's files ends after ten seconds, and it says to ask again after one. */
const TRIES_MAX = 12;
const SEARCH_MS = 12000;
const TONE = { warning: "warm", error: "bad", critical: "bad" };

export function RequestPage({ id }) {
  return html`<section><div class="head"><h1 class="grow">A request</h1>
      <a href=${at("system")}>Back to the system</a></div>
    <div class="stack"><${LookUp} id=${id} /><${Found} id=${id} key=${id} /></div></section>`;
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

function Found({ id }) {
  const [waits, setWaits] = useState(false);
  const found = useLoaded((signal) => lookedUp(id, signal, setWaits), [id], {
    limitMs: TRIES_MAX * SEARCH_MS,
  });
  return html`${
    waits &&
    html`<p class="hint" role="status">The server looks up another request, which takes seconds. This one is
      looked up after it.</p>`
  }<${Loaded} of=${found}>${({ lines, trace, whole }) => html`<div class="stack">
    ${
      !whole &&
      html`<p class="hint">The search ended before it had read everything: what the newest files have is here.
      <code> populace logs --request</code> and <code>populace trace</code> on the server read all.</p>`
    }
    <${Lines} lines=${lines} /><${Trace} spans=${trace} /></div>`}</${Loaded}>`;
}

/** What there is of a request. It is asked for again while the server looks up another one. */
async function lookedUp(id, signal, setWaits) {
  try {
    for (let tries = 1; ; tries += 1) {
      try {
        return await get(`/v1/requests/${encodeURIComponent(id)}`, { signal });
      } catch (error) {
        const isBusy = error.code === "overloaded" && error.retryAfter;
        if (!isBusy || tries === TRIES_MAX) throw error;
        setWaits(true);
        await new Promise((done) => setTimeout(done, error.retryAfter * 1000));
      }
    }
  } finally {
    if (!signal.aborted) setWaits(false);
  }
}

function Lines({ lines }) {
  if (!lines.length)
    return html`<section class="sheet stack"><header><h2>Its log</h2></header>
      <p class="hint">It left no line. A request without trouble leaves one with
      <code> POPULACE_LOG_LEVEL=debug</code> only.</p></section>`;
  return html`<section class="sheet flush">
    <header><h2>Its log</h2><span class="quiet small">
      ${count(lines.length, "line")}, ${moment(Date.parse(lines[0].at) / 1000)}</span></header>
    <ol class="log">${lines.map(
      (line, index) => html`<li key=${index}>
      <time datetime=${line.at} class="numbers quiet">${clock(line.at)}</time>
      <span class="quiet">${line.process}-${line.number}</span>
      <span class=${`chip ${TONE[line.level] ?? ""}`}>${line.level}</span>
      <span class="message">${line.message}
        ${line.error_code && html` <code>${line.error_code}</code>`}
        ${line.raised && html` <code>${line.raised}</code>`}
        <span class="small quiet"> ${line.logger.replace(/^populace\./, "")}</span></span></li>`,
    )}</ol></section>`;
}
