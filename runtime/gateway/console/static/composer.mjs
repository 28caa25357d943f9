// Where a message is written, and what is asked: the model as it is served, another revision, or the base.
import { get, path } from "./api.mjs";
import { useLoaded } from "./loading.mjs";
import { leavesNoTrace } from "./talk.mjs";
import { Icon, html, useEffect, useLayoutEffect } from "./view.mjs";
import { ago, count, short } from "./words.mjs";

const HEIGHT_MAX = 220;
const REVISIONS = 20;

export function Composer({ talk, box, model, editing, onSend }) {
  const draft = talk.draft.value;
  const busy = talk.running.value !== null;
  useLayoutEffect(() => {
    box.current.style.height = "auto";
    box.current.style.height = `${Math.min(box.current.scrollHeight + 2, HEIGHT_MAX)}px`;
  }, [draft]);
  useEffect(() => {
    // On a touch screen the focus would open a keyboard over half of the page, and who skips to the page
    // while it is loaded is on their way elsewhere.
    const { activeElement } = document;
    if (!matchMedia("(pointer: fine)").matches || activeElement.matches("main, .skip")) return;
    box.current.focus({ preventScroll: true });
  }, []);
  const send = (event) => {
    event.preventDefault();
    const text = talk.draft.value.trim();
    if (!text || busy) return;
    talk.draft.value = "";
    onSend(text);
  };
  const stop = () => talk.abort.abort();
  const leave = () => {
    talk.editing.value = null;
    talk.draft.value = "";
  };
  const keys = (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) send(event);
    if (event.key === "Escape" && busy) stop();
    else if (event.key === "Escape" && editing) leave();
  };
  const isFixed = leavesNoTrace({ peeks: false, revision: talk.revision.value });
  return html`<form class="composer" onSubmit=${send}>
    ${
      editing &&
      html`<${Editing} turns=${editing.turns} keeps=${talk.peeks.value || isFixed} leave=${leave} />`
    }
    <textarea ref=${box} rows="1" value=${draft} onKeyDown=${keys} dir="auto"
      onInput=${(event) => {
        talk.draft.value = event.target.value;
      }}
      aria-label=${`Message to ${talk.name}`} placeholder=${`Message ${talk.name}`}></textarea>
    <div class="row">
      <label class="check quiet"
        title="The reply reads what is remembered, and nothing of it is logged or remembered">
        <input type="checkbox" checked=${talk.peeks.value || isFixed} disabled=${isFixed}
          onChange=${(event) => {
            talk.peeks.value = event.target.checked;
          }} /> Leave no trace</label>
      <${Answering} talk=${talk} model=${model} />
      <span class="hint wide">${busy ? "Escape stops" : "Enter sends"}</span>
      ${
        busy
          ? html`<button type="button" class="round" aria-label="Stop the reply" onClick=${stop}>
          <${Icon} name="stop" /></button>`
          : html`<button class="main round" aria-label="Send"><${Icon} name="send" /></button>`
      }
    </div>
  </form>`;
}

function Editing({ turns, keeps, leave }) {
  const others = turns.length - 1;
  const gone = `Sending forgets this turn${others > 0 ? ` and ${count(others, "turn")} after it` : ""}.`;
  return html`<p class="row small editing" role="status"><span class="grow">
    ${keeps ? "It leaves no trace, so nothing is forgotten." : gone}</span>
    <button type="button" class="plain" onClick=${leave}>Cancel</button></p>`;
}

/** Which revision answers. Only those that an alias names are talked with; others are only asked. */
function Answering({ talk, model }) {
  const { aliases } = model;
  const revisions = useLoaded(
    (signal) => get(path(model.id, "/revisions"), { signal }),
    [model.id, aliases.latest],
  );
  const named = Object.keys(aliases).filter((alias) => alias !== "latest");
  const others = (revisions.value?.data ?? [])
    .filter((revision) => !Object.values(aliases).includes(revision.id))
    .toReversed()
    .slice(0, REVISIONS);
  const choose = (event) => {
    talk.revision.value = event.target.value;
  };
  return html`<select class="answering" aria-label="Which revision answers" value=${talk.revision.value}
    onChange=${choose}>
    <option value="">${model.id}, as it is</option>
    ${named.map(
      (alias) => html`<option key=${alias} value=${`@${alias}`}>
      ${alias} (${short(aliases[alias])})</option>`,
    )}
    ${others.map(
      (revision) => html`<option key=${revision.id} value=${`@${revision.id}`}>
      ${short(revision.id)}, ${ago(revision.created)}</option>`,
    )}
    <option value="@base">the base alone</option>
  </select>`;
}
