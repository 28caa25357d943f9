// All people, by name. There may be a million: what is in view is drawn, and pages come as they are needed.
import { post } from "./api.mjs";
import { Form } from "./forms.mjs";
import { Empty, Problem } from "./loading.mjs";
import { NameList } from "./name_list.mjs";
import { say } from "./notices.mjs";
import { at, go } from "./places.mjs";
import { Face, html, useEffect, useMemo, useRef, useState } from "./view.mjs";
import { ago, count, short } from "./words.mjs";

const ROW = 58;
const BEYOND = 6;
const LETTERS = [..."0123456789abcdefghijklmnopqrstuvwxyz"];
const TYPING_MS = 120;

export default function People() {
  const [prefix, setPrefix] = useState("");
  const [first, setFirst] = useState("");
  const [look, setLook] = useState(0);
  const typing = useRef(0);
  const search = (event) => {
    const wanted = event.target.value.trim().toLowerCase();
    clearTimeout(typing.current);
    typing.current = setTimeout(() => {
      setFirst("");
      setPrefix(wanted);
    }, TYPING_MS);
  };
  const box = useRef(null);
  useEffect(() => {
    const focus = (event) => {
      if (event.key !== "/" || /^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement.tagName)) return;
      event.preventDefault();
      box.current.focus();
    };
    addEventListener("keydown", focus);
    return () => removeEventListener("keydown", focus);
  }, []);
  return html`<section class="people">
    <div class="head"><h1 class="grow">People</h1><${NewPerson} /></div>
    <div class="row search">
      <input ref=${box} type="search" onInput=${search} placeholder="Find by the beginning of a name"
        spellcheck=${false}
        aria-label="Find people by the beginning of their name" autocapitalize="off" />
      <kbd aria-hidden="true">/</kbd>
    </div>
    <${Names} prefix=${prefix} first=${first} onFirst=${setFirst} onAgain=${() => setLook(look + 1)}
      key=${`${prefix} ${first} ${look}`} />
  </section>`;
}

/** The people whose names begin with `prefix`, from those on that begin with the letter `first`. */
function Names({ prefix, first, onFirst, onAgain }) {
  const list = useMemo(() => new NameList(prefix, first), []);
  const scroller = useRef(null);
  const [view, setView] = useState({ from: 0, to: 30 });
  const look = () => {
    if (!scroller.current) return;
    const { scrollTop, clientHeight } = scroller.current;
    const from = Math.max(0, Math.floor(scrollTop / ROW) - BEYOND);
    const to = Math.ceil((scrollTop + clientHeight) / ROW) + BEYOND;
    setView((before) => (before.from === from && before.to === to ? before : { from, to }));
    const moved = list.see(from, to);
    if (moved) scroller.current.scrollTop += moved * ROW;
  };
  useEffect(() => {
    list.see(0, 30);
    addEventListener("resize", look);
    return () => {
      list.leave();
      removeEventListener("resize", look);
    };
  }, []);
  const { length, ended, failure, missing } = list.state.value;
  useEffect(look, [length > 0]);
  if (failure && !length) return html`<${Problem} failure=${failure} again=${() => list.again()} />`;
  if (ended && !length && list.before === 0 && !missing.length)
    return html`<${Nothing} prefix=${prefix} first=${first} />`;
  const rows = [];
  for (let index = view.from; index < Math.min(view.to, length); index += 1) {
    rows.push(html`<${Row} key=${list.before + index} index=${list.before + index} view=${list.row(index)}
      top=${index * ROW} />`);
  }
  const isLong = !prefix && (first || length + list.before > 60);
  return html`<div class="names ${isLong ? "long" : ""}">
    <div class="sheet flush scroller" ref=${scroller} onScroll=${look} onKeyDown=${arrows} tabindex="-1">
      <ul style=${{ height: `${length * ROW}px` }} aria-label="People">${rows}</ul>
      ${
        !ended &&
        !failure &&
        html`<p class="more quiet" role="status">${length ? "More are coming" : "Loading"}</p>`
      }
    </div>
    ${
      isLong &&
      html`<nav class="letters" aria-label="People from a letter on">
      ${LETTERS.map(
        (letter) => html`<button class="plain" key=${letter}
        aria-pressed=${letter === first ? "true" : "false"}
        aria-label=${`From ${letter} on`} onClick=${() => onFirst(letter === first ? "" : letter)}>
          ${letter}</button>`,
      )}</nav>`
    }
  </div>
  ${failure && html`<${Problem} failure=${failure} again=${() => list.again()} />`}
  ${missing.length > 0 && html`<${Problem} failure=${unread(missing)} again=${onAgain} />`}
  <p class="hint numbers" role="status">${
    ended
      ? count(length + list.before, "person", "people") + (first ? ` from ${first} on` : "")
      : `More than ${count(length + list.before, "person", "people")}`
  }</p>`;
}

/** What the list does without, and what an operator does about it. */
function unread(missing) {
  return {
    message: `This list does without ${missing.join(", ")}: what is there cannot be read.`,
    advice: "`populace doctor --deep` names what is damaged, and with `--mend` repairs what a journal has.",
  };
}

function Row({ index, view, top }) {
  const style = { transform: `translateY(${top}px)` };
  if (view === undefined) return html`<li style=${style} class="pending"><i /></li>`;
  const served = view.aliases.latest ?? view.begins_on;
  return html`<li style=${style} aria-posinset=${index + 1} aria-setsize="-1">
    <a href=${at("people", view.id)}>
      <${Face} name=${view.id} />
      <b>${view.id}</b>
      <span class="quiet numbers">${count(view.log_position, "turn")}</span>
      <span class="wide">${
        served
          ? html`<code class="chip accent">${short(served)}</code>`
          : html`<span
        class="chip">base</span>`
      }</span>
      <span class="wide quiet small">
        ${view.active ? html`<span class="chip good">awake</span>` : ago(view.created)}</span>
    </a></li>`;
}

function Nothing({ prefix, first }) {
  if (prefix || first) {
    const wanted = prefix ? `with “${prefix}”` : `at “${first}” or later`;
    return html`<${Empty} title=${`Nobody's name begins ${wanted}`}>
      <p>Names are of small letters, digits, hyphens and underscores.</p></${Empty}>`;
  }
  return html`<${Empty} title="There is nobody here yet">
    <p>A personal model belongs to one person. It remembers what they say, and learns from what they correct.
      Create one above, then talk with it.</p>
    <p class="small">In a program it is <code>population.create("ada")</code>, on the command line
      <code> populace model create ada</code>.</p></${Empty}>`;
}

function NewPerson() {
  const create = async (fields) => {
    const made = await post("/v1/personal-models", { name: fields.get("name").trim() });
    say(`${made.id} is there.`);
    go("people", made.id);
  };
  return html`<${Form} class="row new" send=${create}>
    <input name="name" required maxlength="64" placeholder="Name" aria-label="Name of a new person"
      spellcheck=${false}
      autocapitalize="off" autocomplete="off" />
    <button class="main">Create</button></${Form}>`;
}

/** Arrow keys go from person to person. */
function arrows(event) {
  const step = { ArrowDown: "nextElementSibling", ArrowUp: "previousElementSibling" }[event.key];
  const next = step && event.target.closest("li")?.[step]?.querySelector("a");
  if (!next) return;
  event.preventDefault();
  next.focus();
}
