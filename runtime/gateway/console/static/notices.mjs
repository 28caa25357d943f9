// Short messages about what has just happened, which screen readers read out.
import { RequestLink } from "./places.mjs";
import { html, signal } from "./view.mjs";

const SECONDS = 6;
const shown = signal([]);
let number = 0;

export function say(text) {
  add({ text, failure: null }, SECONDS);
}

/** Tell of a failure of the API until it is closed; anything else is a fault of the console's own. */
export function tell(error) {
  if (error.name === "AbortError") return;
  if (error.advice === undefined) throw error;
  if (error.status !== 401) add({ text: error.message, failure: error }, SECONDS * 3);
}

/** Run something that a person asked for, and tell of its failure. Returns undefined then. */
export async function attempt(work) {
  try {
    return await work();
  } catch (error) {
    tell(error);
    return undefined;
  }
}

function add(notice, seconds) {
  const made = { ...notice, id: number++ };
  shown.value = [...shown.value.slice(-3), made];
  setTimeout(() => close(made), seconds * 1000);
}

function close(notice) {
  shown.value = shown.value.filter((other) => other !== notice);
}

export function Notices() {
  return html`<div class="notices" role="status" aria-live="polite">
    ${shown.value.map(
      (notice) => html`<div class=${notice.failure ? "notice bad" : "notice"}
      key=${notice.id}>
      <div><p>${notice.text}</p>
        ${notice.failure?.advice && html`<p class="small quiet">${notice.failure.advice}</p>`}
        <${RequestLink} id=${notice.failure?.request} /></div>
      <button class="plain" aria-label="Close this message" onClick=${() => close(notice)}>✕</button>
    </div>`,
    )}
  </div>`;
}
