// One person: who they are, and a page for each thing that one does with their model.
import { get, path } from "./api.mjs";
import { Loaded, Outdated, useLoaded } from "./loading.mjs";
import { at, place } from "./places.mjs";
import { Face, html, useEffect, useRef, useState } from "./view.mjs";
import { ago, count, moment, short } from "./words.mjs";

const PARTS = [
  ["chat", "Chat", () => import("./chat.mjs")],
  ["knows", "What it knows", () => import("./knows.mjs")],
  ["revisions", "Revisions", () => import("./revisions.mjs")],
  ["training", "Training", () => import("./training.mjs")],
  ["suite", "Suite", () => import("./suite.mjs")],
  ["keeping", "Sharing and erasing", () => import("./keeping.mjs")],
];

export default function Person() {
  const [, name, wish] = place.value;
  const model = useLoaded((signal) => get(path(name), { signal }), [name]);
  const [part, , load] = PARTS.find(([id]) => id === wish) ?? PARTS[0];
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
  const tabs = useRef(null);
  useEffect(() => {
    const { current } = tabs;
    const shown = current.querySelector("[aria-current]");
    current.scrollLeft = shown.offsetLeft - (current.clientWidth - shown.offsetWidth) / 2;
  }, [part]);
  return html`<section class=${`person ${part}`}>
    <div class="head">
      <${Face} name=${name} large />
      <div class="grow"><h1><bdi>${name}</bdi></h1>
        ${model.value && html`<${Facts} model=${model.value} />`}</div>
    </div>
    <nav class="tabs" ref=${tabs} aria-label=${`Pages of ${name}`}>${PARTS.map(
      ([id, title]) => html`<a key=${id}
      href=${at("people", name, id)} aria-current=${id === part ? "page" : undefined}>${title}</a>`,
    )}</nav>
    <${Loaded} of=${model}>${(value) =>
      drawn.part === part &&
      html`<${drawn.Page} model=${value} reload=${model.reload}
      key=${part} />`}</${Loaded}>
  </section>`;
}

function Facts({ model }) {
  const served = model.aliases.latest;
  return html`<p class="facts">
    <span><b>${count(model.log_position, "turn")}</b></span>
    <span>served by <b>${served ? html`<code>${short(served)}</code>` : short(model.begins_on)}</b></span>
    <span title=${moment(model.created)}>since <b>${ago(model.created)}</b></span>
  </p>`;
}
