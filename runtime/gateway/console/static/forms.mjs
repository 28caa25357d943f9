// Forms: what is filled in is sent once, however often one presses the button. A failure is said below it.
import { attempted } from "./notices.mjs";
import { Said } from "./loading.mjs";
import { html, useLayoutEffect, useRef, useState } from "./view.mjs";

/** A new Idempotency-Key, also on pages that are not served by https. */
export const newKey = () => crypto.randomUUID?.() ?? `console-${Date.now()}-${Math.random()}`;

/**
 * A form that cannot be changed or sent while `send(fields, key)` runs.
 *
 * `key` is the same for all tries to send the same, until one has succeeded. With `cancel` it is one that a
 * button opened: its field has the focus and is chosen, Escape cancels, Ctrl and Enter sends, and the focus
 * goes back to the button.
 */
export function Form({ send, cancel, children, ...rest }) {
  const form = useRef(null);
  const tried = useRef({ text: null, key: null });
  const focused = useRef(null);
  const [state, setState] = useState({ busy: false, failure: null });
  useOpened(form, cancel);
  const submit = async (event) => {
    event.preventDefault();
    if (focused.current) return;
    focused.current = document.activeElement;
    const fields = new FormData(form.current);
    const text = JSON.stringify([...fields]);
    if (tried.current.text !== text) tried.current = { text, key: newKey() };
    setState({ busy: true, failure: null });
    const failure = await attempted(() => send(fields, tried.current.key));
    if (!failure) tried.current = { text: null, key: null };
    setState({ busy: false, failure });
  };
  useLayoutEffect(() => {
    // A field that was disabled has lost the focus.
    if (state.busy || !focused.current) return;
    if (document.activeElement === document.body) focused.current.focus();
    focused.current = null;
  }, [state.busy]);
  const keys = (event) => {
    if (!cancel || event.isComposing) return;
    if (event.key === "Escape") cancel();
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.current.requestSubmit();
  };
  return html`<form ref=${form} ...${rest} onSubmit=${submit} onKeyDown=${keys}
    aria-busy=${state.busy ? "true" : undefined}>
    <fieldset class="bare" disabled=${state.busy}>${children}</fieldset>
    ${state.failure && html`<${Said} failure=${state.failure} />`}
  </form>`;
}

/** Begin in the first field of a form that was opened, and go back to what opened it. */
function useOpened(form, cancel) {
  useLayoutEffect(() => {
    if (!cancel) return undefined;
    const opener = document.activeElement;
    const field = form.current.querySelector("input, textarea");
    field.focus();
    field.select();
    return () => {
      const { activeElement } = document;
      if (activeElement === document.body || form.current?.contains(activeElement)) opener.focus();
    };
  }, []);
}
