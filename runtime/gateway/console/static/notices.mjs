// Short messages about what has just happened, which screen readers read out.
import { RequestLink } from "./places.mjs";
import { Coded, html, signal } from "./view.mjs";

const SECONDS = 6;
const SHOWN_MAX = 3;
const shown = signal([]);
let number = 0;

export function say(text) {
  add({ text, failure: null }, SECONDS);
}

/** Tell of a failure of the API until it is closed; anything else is a fault of the console's own. */
export function tell(error, about = null) {
  const failure = failureOf(error);
  if (failure) add({ text: failure.message, failure, about }, SECONDS * 3);
}

/**
 * Run something that a person asked for, and tell of its failure. Returns undefined then.
 *
 * A success takes away what was told of failures `about` the same.
 */
export async function attempt(work, about = null) {
  try {
    const done = await work();
    if (about !== null) shown.value = shown.value.filter((notice) => notice.about !== about);
    return done;
  } catch (error) {
    tell(error, about);
    return undefined;
  }
}

/** Run something that a person asked for. Returns null, or its failure, which is said where it belongs. */
export async function attempted(work) {
  try {
    await work();
    return null;
  } catch (error) {
    return failureOf(error);
  }
}

/** The Failure that a person is told of: not of what they ended, nor of a key that signed them out. */
function failureOf(error) {
  if (error.name === "AbortError") return null;
  if (error.advice === undefined) throw error;
  return error.status === 401 ? null : error;
}

/** Show a notice in place of one that says the same. */
function add(notice, seconds) {
  const made = { ...notice, id: number++ };
  const others = shown.value.filter((other) => other.text !== made.text);
  shown.value = [...others.slice(1 - SHOWN_MAX), made];
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
      <div><p><${Coded} text=${notice.text} /></p>
        ${
          notice.failure?.advice &&
          html`<p class="small quiet"><${Coded} text=${notice.failure.advice} /></p>`
        }
        <${RequestLink} id=${notice.failure?.request} /></div>
      <button class="plain" aria-label="Close this message" onClick=${() => close(notice)}>✕</button>
    </div>`,
    )}
  </div>`;
}
