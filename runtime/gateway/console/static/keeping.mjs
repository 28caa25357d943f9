// Who else may use a model, taking it elsewhere, and erasing it.
import { get, path, post, put, remove, send } from "./api.mjs";
import { confirm } from "./dialogs.mjs";
import { Form } from "./forms.mjs";
import { Loaded, useLoaded } from "./loading.mjs";
import { attempt, say } from "./notices.mjs";
import { go } from "./places.mjs";
import { html, useState } from "./view.mjs";

export default function Keeping({ model, reload }) {
  return html`<div class="stack narrow">
    <${Export} name=${model.id} /><${Erase} name=${model.id} /><${Sharing} name=${model.id} />
      <${Contribution} model=${model} reload=${reload} /><${Fork} name=${model.id} />
  </div>`;
}

const SHARES = [
  ["", "Nothing", "It takes no part in answers of the population."],
  ["votes", "Votes", "Its choice counts, and its words are told only if another said the same."],
  ["texts", "Texts", "Its replies are told, and it can be merged."],
];

function Sharing({ name }) {
  const member = useLoaded((signal) => get(path(name, "/sharing"), { signal }), [name]);
  const share = async (sharing) => {
    await attempt(() => put(path(name, "/sharing"), { sharing: sharing || null }), `sharing of ${name}`);
    // Also if it was refused: what is drawn anew is what the server has, and not what was pressed.
    member.reload();
  };
  return html`<section class="sheet"><header><h2>Sharing with the population</h2></header>
    <${Loaded} of=${member}>${({ sharing }) => html`<fieldset class="choices">
      <legend class="unseen">What is shared</legend>
      ${SHARES.map(
        ([id, title, text]) => html`<label class="check" key=${id}>
      <input type="radio" name="sharing" value=${id} checked=${(sharing ?? "") === id}
        onChange=${() => share(id)} />
      <span>${title}<br /><span class="small quiet">${text}</span></span></label>`,
      )}</fieldset>`}</${Loaded}></section>`;
}

function Contribution({ model, reload }) {
  const change = async (event) => {
    const to = path(model.id, "/contribution");
    await attempt(() => (event.target.checked ? put(to) : remove(to)), to);
    reload();
  };
  return html`<section class="sheet"><header><h2>Learning for everybody</h2></header>
    <label class="check"><input type="checkbox" checked=${model.contributes} onChange=${change} />
      <span>The community may learn from the replies that ${model.id} liked<br />
        <span class="small quiet">It can be taken back at any time.</span></span></label></section>`;
}

function Fork({ name }) {
  const fork = async (fields) => {
    const made = await post(path(name, "/fork"), { name: fields.get("name").trim() });
    say(`${made.id} is a copy of ${name}.`);
    go("people", made.id);
  };
  return html`<section class="sheet"><header><h2>Copy</h2></header>
    <p class="hint">A new model with this log, memory and revisions, which goes its own way from here.</p>
    <${Form} class="row" send=${fork}>
      <input class="grow" name="name" required placeholder="Name of the copy" aria-label="Name of the copy"
      spellcheck=${false} autocapitalize="off" /><button>Copy</button></${Form}></section>`;
}

function Export({ name }) {
  const [busy, setBusy] = useState(false);
  const save = async () => {
    setBusy(true);
    const file = await attempt(async () => (await send("GET", path(name, "/export"))).blob());
    setBusy(false);
    if (!file) return;
    const link = document.createElement("a");
    link.href = URL.createObjectURL(file);
    link.download = `${name}.populace.zip`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  };
  return html`<section class="sheet"><header><h2>Export</h2>
    <button onClick=${save} disabled=${busy}>${busy ? "Being written…" : "Download"}</button></header>
    <p class="hint">A zip file with everything: the log in plain text, the memory, all revisions and the
      suite. Whoever has it can read it.</p></section>`;
}

function Erase({ name }) {
  const erase = async () => {
    const agreed = await confirm({
      title: `Erase ${name}?`,
      word: name,
      action: "Erase for ever",
      danger: true,
      text: "The model, its log, its memory and all that it learned go for ever. This cannot be taken back.",
    });
    if (!agreed || !(await attempt(() => remove(path(name))))) return;
    say(`${name} was erased.`);
    go("people");
  };
  return html`<section class="sheet"><header><h2>Erase</h2>
    <button class="danger" onClick=${erase}>Erase</button></header>
    <p class="hint">All that ${name} ever said is removed from every file. Export it first if it may be wanted
      again.</p></section>`;
}
