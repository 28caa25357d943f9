// Copying a text to the clipboard.
import { say } from "./notices.mjs";
import { Icon, html } from "./view.mjs";

export function Copy({ text, label = "Copy" }) {
  const copy = async (event) => {
    await copied(text, event.currentTarget);
    say("Copied.");
  };
  return html`<button type="button" class="plain" aria-label=${label} title=${label} onClick=${copy}>
    <${Icon} name="copy" /></button>`;
}

/** Pages that are not served by https have no clipboard of their own: there a field is chosen and copied. */
async function copied(text, button) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const field = document.createElement("textarea");
    field.value = text;
    button.after(field);
    field.select();
    document.execCommand("copy");
    field.remove();
    button.focus();
  }
}
