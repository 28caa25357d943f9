// What the model knows about its person: each fact with the sentence that it comes from.
import { get, path, post } from "./api.mjs";
import { forget } from "./forgetting.mjs";
import { Form } from "./forms.mjs";
import { Empty, Loaded, Problem, useLoaded } from "./loading.mjs";
import { say } from "./notices.mjs";
import { at } from "./places.mjs";
import { TurnLink, Words } from "./turn.mjs";
import { html, useEffect, useRef, useState } from "./view.mjs";
import { count, moment, percent } from "./words.mjs";

/** The first time some forty questions are asked, which takes as long as forty short replies. */
const KNOWN_MS = 180000;
const PATIENCE_MS = 1500;
/** How often it is looked for newer answers while the server has these from before. */
const AGAIN_MS = 2000;

export default function Knows({ model, reload }) {
  return html`<div class="stack narrow"><${Facts} model=${model} reload=${reload} />
    <${Search} name=${model.id} reload=${reload} /></div>`;
}

/** The facts that the log bears out: each with the sentence that it comes from, to correct or forget. */
function Facts({ model, reload }) {
  const [isOld, setOld] = useState(false);
  const known = useLoaded(
    async (signal) => {
      const told = await get(path(model.id, "/memory/known"), { signal });
      setOld(told.refreshing === true);
      return told;
    },
    [model.id],
    { limitMs: KNOWN_MS, everyMs: isOld ? AGAIN_MS : 0 },
  );
  const [gone, setGone] = useState(new Set());
  const again = useRef(null);
  const told = () => {
    reload();
    known.reload();
  };
  const drop = (positions) => {
    // The button that was pressed goes with what is forgotten.
    again.current?.focus();
    setGone(new Set([...gone, ...positions]));
    reload();
  };
  return html`<section class="sheet">
    <header><h2>What it knows about ${model.id}</h2>
      ${known.value && html`<button ref=${again} onClick=${known.reload}>Look again</button>`}</header>
    ${
      (known.value === undefined || known.value.position === null) && !known.failure
        ? html`<${Asking} name=${model.id} />`
        : html`<${Loaded} of=${known}>${({ facts, unknown }) => html`
      <${List} facts=${facts.filter((fact) => !gone.has(fact.position))} name=${model.id} onGone=${drop}
        reload=${told} />
      ${isOld && html`<p class="hint" role="status">It is asked again, since more was said.</p>`}
      ${known.failure && html`<${Problem} failure=${known.failure} again=${known.reload} />`}
      ${
        unknown.length > 0 &&
        html`<details>
        <summary class="quiet small">${count(unknown.length, "question")} without an answer</summary>
        <ul class="small quiet">${unknown.map((question) => html`<li>${question}</li>`)}</ul>
          </details>`
      }`}</${Loaded}>`
    }
  </section>`;
}

function Asking({ name }) {
  const [isLong, setLong] = useState(false);
  useEffect(() => {
    const timer = setTimeout(() => setLong(true), PATIENCE_MS);
    return () => clearTimeout(timer);
  }, []);
  return html`<div role="status" class="stack"><div class="bar moving"><i /></div>
    <p class="hint">${
      isLong
        ? `${name}'s model is asked for a name, a home, work, family and likes, and what was spoken of. ` +
          "That takes a while the first time. Nothing of it is remembered."
        : "Loading what it knows"
    }</p></div>`;
}

function List({ facts, name, onGone, reload }) {
  if (!facts.length)
    return html`<${Empty} title="Nothing yet"><p>Tell it something in the <a
      href=${at("people", name, "chat")}>chat</a>: “My dog is called Bruno.” What it takes from
      that is here then.</p>
      </${Empty}>`;
  return html`<ul class="known">${facts.map(
    (fact) => html`<${Fact} key=${fact.question} fact=${fact} name=${name} onGone=${onGone}
      reload=${reload} />`,
  )}</ul>`;
}

function Fact({ fact, name, onGone, reload }) {
  const [correcting, setCorrecting] = useState(false);
  const forgetIt = async () => {
    const positions = await forget(name, [fact.position]);
    if (positions) onGone(positions);
  };
  const close = () => setCorrecting(false);
  const tellAnew = async (fields, key) => {
    const content = fields.get("words").trim();
    await post(
      "/v1/chat/completions",
      { model: name, messages: [{ role: "user", content }] },
      { headers: { "idempotency-key": key } },
    );
    close();
    say("It was told, and counts from the next turn on.");
    reload();
  };
  return html`<li class="fact">
    <p class="quiet small">${fact.question}</p>
    <${Words} text=${fact.answer} />
    <p class="small quiet"><q class="whole-text" dir="auto">${fact.said}</q></p>
    <div class="row small">
      <span class="quiet numbers">said in <${TurnLink} name=${name} position=${fact.position} />
        ${fact.read ? "" : ` · ${percent(fact.sure)} sure`}</span>
      <button class="plain" onClick=${() => setCorrecting(!correcting)}
        aria-expanded=${correcting ? "true" : "false"}>Correct</button>
      <button class="plain danger" onClick=${forgetIt}>Forget</button>
    </div>
    ${
      correcting &&
      html`<${Form} class="stack" send=${tellAnew} cancel=${close}>
      <label>Tell it how it is, in a sentence of yours<input name="words" required dir="auto"
        placeholder="My dog is called Bruno." /></label>
      <div class="row end"><button type="button" onClick=${close}>Cancel</button>
        <button class="main">Tell it</button></div></${Form}>`
    }
  </li>`;
}

/** Find turns by words that were said in them, to forget them. */
function Search({ name, reload }) {
  const [found, setFound] = useState(null);
  const [chosen, setChosen] = useState(new Set());
  const box = useRef(null);
  const search = async (fields) => {
    const query = fields.get("query").trim();
    if (!query) return;
    setFound((await post(path(name, "/forget"), { query })).found);
    setChosen(new Set());
  };
  const toggle = (position) => {
    const next = new Set(chosen);
    if (!next.delete(position)) next.add(position);
    setChosen(next);
  };
  const forgetChosen = async () => {
    const gone = await forget(name, [...chosen]);
    if (!gone) return;
    setFound(found.filter((turn) => !gone.includes(turn.position)));
    setChosen(new Set());
    box.current.focus();
    reload();
  };
  return html`<section class="sheet">
    <header><h2>Find and forget</h2></header>
    <${Form} class="row" send=${search}>
      <input ref=${box} name="query" class="grow" aria-label="Words that were said"
      placeholder="Words that were said" dir="auto" />
      <button>Find</button></${Form}>
    ${found && !found.length && html`<p class="hint">No turn says that.</p>`}
    ${
      found &&
      found.length > 0 &&
      html`<ul class="found">
      ${found.map(
        (turn) => html`<li key=${turn.position}><label class="check">
      <input type="checkbox" checked=${chosen.has(turn.position)} onChange=${() => toggle(turn.position)} />
      <span><span class="whole-text" dir="auto">${turn.messages.at(-1)?.content ?? ""}</span>
        <span class="small quiet numbers"><${TurnLink} name=${name} position=${turn.position} /> ·
          ${` ${moment(turn.created)}`}</span></span>
          </label></li>`,
      )}</ul>
      <div class="row end"><button class="danger" disabled=${!chosen.size}
        onClick=${forgetChosen}>Forget ${chosen.size || ""}</button></div>`
    }
  </section>`;
}
