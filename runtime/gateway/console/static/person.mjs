// One person: who they are, and a page for each thing that one does with their model.
import { Failure, get, path } from "./api.mjs";
import { Loaded, Outdated, useLoaded } from "./loading.mjs";
import { attempt } from "./notices.mjs";
import { at, go, place } from "./places.mjs";
import { Face, html, useEffect, useState } from "./view.mjs";
import { ago, count, moment, short } from "./words.mjs";

/** What a person may be called; an address may have anything in its place. */
const NAME = /^[a-z0-9][a-z0-9_-]{0,63}$/;
const OFFERED = 20;

const PARTS = [
  ["chat", "Chat", () => import("./chat.mjs")],
  ["knows", "What it knows", () => import("./knows.mjs")],
  ["training", "Training", () => import("./training.mjs")],
  ["keeping", "Export and erase", () => import("./keeping.mjs")],
];
/** What most people never need, below one tab. */
const ADVANCED = [
  ["revisions", "Revisions", () => import("./revisions.mjs")],
  ["suite", "Suite", () => import("./suite.mjs")],
  ["memory", "Memory", () => import("./memory.mjs")],
];
/** What links lead to, and no tab. */
const LINKED = [["turn", "Turn", () => import("./source.mjs")]];

export default function Person() {
  const [, name, wish] = place.value;
  const model = useLoaded(
    async (signal) => {
      if (NAME.test(name)) return get(path(name), { signal });
      throw new Failure(`The model \`${name}\` does not exist.`, { status: 404, code: "model_not_found" });
    },
    [name],
  );
  const [part, , load] = [...PARTS, ...ADVANCED, ...LINKED].find(([id]) => id === wish) ?? PARTS[0];
  const [drawn, setDrawn] = useState({ part: null, Page: null });
  useEffect(() => {
    let wanted = true;
    load().then(
      (module) => wanted && setDrawn({ part, Page: module.default }),
      () => wanted && setDrawn({ part, Page: Outdated }),
    );
    return () => {
      wanted = false;
    };
  }, [load]);
  const isAdvanced = ADVANCED.some(([id]) => id === part);
  const tab = ([id, title], isCurrent) =>
    html`<a key=${id} href=${at("people", name, id)}
      aria-current=${isCurrent ? "page" : undefined}>${title}</a>`;
  return html`<section class=${`person ${part}`}>
    <div class="head">
      <${Face} name=${name} large />
      <div class="grow"><h1><bdi>${name}</bdi></h1>
        ${model.value && html`<${Facts} model=${model.value} />`}</div>
      <${Switch} part=${LINKED.some(([id]) => id === part) ? "chat" : part} />
    </div>
    <nav class="tabs" aria-label=${`Pages of ${name}`}>
      ${PARTS.map((one) => tab(one, one[0] === part))}
      ${tab([ADVANCED[0][0], "Advanced"], isAdvanced)}</nav>
    ${
      isAdvanced &&
      html`<nav class="tabs below" aria-label=${`Advanced pages of ${name}`}>
      ${ADVANCED.map((one) => tab(one, one[0] === part))}</nav>`
    }
    <${Loaded} of=${model}>${(value) =>
      drawn.part === part &&
      html`<${drawn.Page} model=${value} reload=${model.reload}
      key=${part} />`}</${Loaded}>
  </section>`;
}

/** To the same page of another person, by the beginning of their name. */
function Switch({ part }) {
  const [names, setNames] = useState([]);
  const to = (name) => name && go("people", name, part);
  const typed = async ({ target, inputType }) => {
    const written = () => target.value.trim().toLowerCase();
    const prefix = written();
    // One was chosen from the list, and not typed.
    if (names.includes(prefix) && (inputType ?? "insertReplacementText") === "insertReplacementText") {
      to(prefix);
      return;
    }
    const query = new URLSearchParams({ limit: OFFERED, prefix });
    const found = await attempt(() => get(`/v1/personal-models?${query}`), "switch");
    // The answer to an earlier letter can come after that to a later one.
    if (found && prefix === written()) setNames(found.data.map(({ id }) => id));
  };
  const entered = (event) => {
    event.preventDefault();
    to(new FormData(event.target).get("name").trim());
  };
  return html`<form class="switch" onSubmit=${entered}>
    <input name="name" list="others" aria-label="Go to another person" placeholder="Another person"
      autocomplete="off" spellcheck=${false} onFocus=${typed} onInput=${typed} />
    <datalist id="others">${names.map((name) => html`<option key=${name} value=${name}></option>`)}</datalist>
  </form>`;
}

function Facts({ model }) {
  const served = model.aliases.latest;
  return html`<p class="facts">
    <span><b>${count(model.log_position, "turn")}</b></span>
    <span>${
      served
        ? html`answers with revision <b><code>${short(served)}</code></b>`
        : model.begins_on
          ? html`answers with what the community learned, <b><code>${short(model.begins_on)}</code></b>`
          : "answers with the base, and what it remembers"
    }</span>
    <span title=${moment(model.created)}>created <b>${ago(model.created)}</b></span>
  </p>`;
}
