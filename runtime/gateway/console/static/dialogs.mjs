// Questions that have to be answered before something is done.
import { place } from "./places.mjs";
import { key } from "./session.mjs";
import { effect, html, signal, useEffect, useRef, useState } from "./view.mjs";

const open = signal(null);

/**
 * Ask for consent. `word` has to be typed first, if there is one; `fields` are shown above the buttons.
 *
 * Resolves to whether it was given. To go to another page, or to be signed out, is to refuse.
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
  const isAnswered = useRef(false);
  const [typed, setTyped] = useState("");
  const answer = (given) => {
    if (isAnswered.current) return;
    isAnswered.current = true;
    // Closed before it is gone, it gives the focus back to where that was.
    dialog.current.close();
    open.value = null;
    resolve(given);
  };
  useEffect(() => {
    dialog.current.showModal();
    let isHere = false;
    return effect(() => {
      const left = [place.value, key.value];
      if (isHere && left) answer(false);
      isHere = true;
    });
  }, []);
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
