// Questions that have to be answered before something is done.
import { html, signal, useEffect, useRef, useState } from "./view.mjs";

const open = signal(null);

/**
 * Ask for consent. `word` has to be typed first, if there is one; `fields` are shown above the buttons.
 *
 * Resolves to whether it was given.
 */
export function confirm({ title, text, action, danger = false, word = null, children = null }) {
  return new Promise((resolve) => {
    open.value = { title, text, action, danger, word, children, resolve };
  });
}

export function Dialogs() {
  return open.value && html`<${Confirmation} ...${open.value} key=${open.value.title} />`;
}

function Confirmation({ title, text, action, danger, word, children, resolve }) {
  const dialog = useRef(null);
  const [typed, setTyped] = useState("");
  useEffect(() => dialog.current.showModal(), []);
  const answer = (given) => {
    open.value = null;
    resolve(given);
  };
  const submit = (event) => {
    event.preventDefault();
    if (word === null || typed === word) answer(true);
  };
  return html`<dialog ref=${dialog} aria-labelledby="asked" onClose=${() => answer(false)}>
    <form onSubmit=${submit}>
      <h2 id="asked">${title}</h2>
      <p>${text}</p>
      ${children}
      ${
        word !== null &&
        html`<label>Type <b>${word}</b> to go on
        <input value=${typed} onInput=${(event) => setTyped(event.target.value)} autocomplete="off"
          spellcheck=${false} autocapitalize="off" autofocus /></label>`
      }
      <div class="row end">
        <button type="button" onClick=${() => answer(false)}>Cancel</button>
        <button class=${danger ? "main danger" : "main"} disabled=${word !== null && typed !== word}
          autofocus=${word === null}>${action}</button>
      </div>
    </form>
  </dialog>`;
}
