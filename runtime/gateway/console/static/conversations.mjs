// The conversations with a person, the newest first. More of them come as one scrolls.
import { at, go } from "./places.mjs";
import { Icon, html, useState } from "./view.mjs";
import { ago } from "./words.mjs";

/** Who sends all that was said before with each message names no conversation. */
const SINGLE = "Requests of other programs";
const NEAR = 200;

export function Conversations({ talk, which }) {
  const [open, setOpen] = useState(false);
  const [busy, setBusy] = useState(false);
  const { name } = talk;
  const hasMore = talk.loaded.value && talk.earliest.value > talk.oldest;
  const more = async () => {
    setBusy(true);
    await talk.back(() => talk.conversations.value.length);
    setBusy(false);
  };
  const scrolled = ({ target }) => {
    const isNear = target.scrollHeight - target.scrollTop - target.clientHeight < NEAR;
    if (isNear && hasMore && !busy && !talk.failure.value) more();
  };
  const begin = () => {
    setOpen(false);
    go("people", name, "chat", "in", talk.begun());
  };
  const to = (one) => (one === null ? ["single"] : ["in", one]);
  return html`<nav class=${open ? "conversations open" : "conversations"} aria-label="Conversations">
    <div class="row"><button type="button" class="which plain" aria-expanded=${open ? "true" : "false"}
        onClick=${() => setOpen(!open)}>Conversations</button>
      <button type="button" class="begin" onClick=${begin}>
        <${Icon} name="add" />New conversation</button></div>
    <ul onScroll=${scrolled} tabindex="-1">${talk.conversations.value.map(
      (one) => html`<li key=${one.name ?? ""}><a onClick=${() => setOpen(false)}
      href=${at("people", name, "chat", ...to(one.name))}
      aria-current=${one.name === which ? "page" : undefined}>
      <span class="title" dir="auto">${one.name === null ? SINGLE : one.title}</span>
      <span class="small quiet">${ago(one.created)}</span></a></li>`,
    )}
      ${
        hasMore &&
        html`<li key="more"><button type="button" class="plain" disabled=${busy} onClick=${more}>
        ${busy ? "Loading…" : "Earlier conversations"}</button></li>`
      }</ul>
  </nav>`;
}
