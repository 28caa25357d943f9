// The console: who is signed in sees a page, and everybody else the door.
import { reachable } from "./api.mjs";
import { Dialogs } from "./dialogs.mjs";
import { Door, welcome } from "./door.mjs";
import { Outdated } from "./loading.mjs";
import { Notices } from "./notices.mjs";
import { at, place } from "./places.mjs";
import { key, population, signOut } from "./session.mjs";
import { recallTheme, switchTheme } from "./theme.mjs";
import { Icon, html, render, useEffect, useRef, useState } from "./view.mjs";

const PAGES = {
  people: () => import("./people.mjs"),
  person: () => import("./person.mjs"),
  population: () => import("./population.mjs"),
  system: () => import("./system.mjs"),
};
const MENU = [
  ["people", "People"],
  ["population", "Population"],
  ["system", "System"],
];

function App() {
  return html`<${Dialogs} /><${Notices} />
    ${
      !reachable.value &&
      html`<div class="banner" role="alert">
      The server does not answer. The console tries again by itself.</div>`
    }
    ${key.value ? html`<${Frame} />` : html`<${Door} />`}`;
}

function Frame() {
  const [first = "people", name] = place.value;
  const page = Object.hasOwn(PAGES, first) ? (first === "people" && name ? "person" : first) : "people";
  const main = useRef(null);
  useEffect(() => {
    if (population.value === null) welcome();
  }, []);
  const skip = (event) => {
    event.preventDefault();
    main.current.focus();
  };
  return html`<div class="frame">
    <a class="skip" href="#" onClick=${skip}>Skip to the page</a>
    <header class="side">
      <a class="brand" href=${at("people")}>
        <img src=${new URL("icon.svg", import.meta.url).href} alt="" />Populace</a>
      <nav aria-label="Pages">${MENU.map(
        ([id, title]) => html`<a key=${id} href=${at(id)}
        aria-current=${id === (page === "person" ? "people" : page) ? "page" : undefined}>
        <${Icon} name=${id} />${title}</a>`,
      )}</nav>
      <div class="foot">
        ${
          population.value &&
          html`<p class="who">${population.value.tenant}<br />
          <span class="small">${population.value.base.name} · ${population.value.version}</span></p>`
        }
        <button class="plain" onClick=${switchTheme} aria-label="Switch between light and dark">
          <${Icon} name="sun" /><span>Light or dark</span></button>
        <button class="plain" onClick=${signOut} aria-label="Sign out">
          <${Icon} name="out" /><span>Sign out</span></button>
      </div>
    </header>
    <main ref=${main} tabindex="-1">
      <${Page} page=${page} name=${name} key=${page === "person" ? `person ${name}` : page} /></main>
  </div>`;
}

/** Load a page's module when it is gone to. */
function Page({ page, name }) {
  const [drawn, setDrawn] = useState(null);
  useEffect(() => {
    // What a screen reader says first, and the list of tabs and of what was visited has.
    document.title = `${page === "person" ? name : MENU.find(([id]) => id === page)[1]} · Populace`;
  }, [page, name]);
  useEffect(() => {
    let wanted = true;
    PAGES[page]().then(
      (module) => wanted && setDrawn(() => module.default),
      () => wanted && setDrawn(() => Outdated),
    );
    return () => {
      wanted = false;
    };
  }, [page]);
  return drawn && html`<${drawn} />`;
}

recallTheme();
const root = document.getElementById("console");
root.replaceChildren();
render(html`<${App} />`, root);
