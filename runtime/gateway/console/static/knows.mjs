// What the model knows about its person, asked of it, with the turn that each answer comes from; its memory.
import { get, path, post } from "./api.mjs";
import { forget } from "./forgetting.mjs";
import { Form } from "./forms.mjs";
import { Empty, Loaded, useLoaded } from "./loading.mjs";
import { Memory } from "./memory.mjs";
import { say } from "./notices.mjs";
import { Words } from "./turn.mjs";
import { Bar, html, useRef, useState } from "./view.mjs";
import { count, moment, percent } from "./words.mjs";

const AGAIN_MS = 2000;

export default function Knows({ model, reload }) {
  const [refreshing, setRefreshing] = useState(false);
  // What it answered when it was asked last, and soon what it answers now: it is asked in the background.
  const loaded = useLoaded(
    async (signal) => {
      const known = await get(path(model.id, "/memory/known"), { signal });
      setRefreshing(known.refreshing);
      return known;
    },
    [model.id],
    { everyMs: refreshing ? AGAIN_MS : 0 },
  );
  const changed = () => {
    reload();
    loaded.reload();
  };
  return html`<div class="pair">
    <div class="stack"><${Facts} model=${model} loaded=${loaded} refreshing=${refreshing} reload=${changed} />
      <${Search} name=${model.id} reload=${changed} /></div>
    <${Memory} model=${model} reload=${reload} />
  </div>`;
}

function Facts({ model, loaded, refreshing, reload }) {
  const heading = useRef(null);
  const gone = () => {
    // The button that was pressed goes with what is forgotten.
    heading.current.focus();
    reload();
  };
  return html`<section class="sheet">
    <header><h2 ref=${heading} tabindex="-1">What it knows about ${model.id}</h2></header>
    ${
      refreshing &&
      html`<div role="status" class="stack"><div class="bar moving"><i /></div>
      <p class="hint">It is being asked, in the background: a short reply for each thing that was told.</p>
        </div>`
    }
    <${Loaded} of=${loaded}>
      ${(known) => html`<${Answers} known=${known} name=${model.id} onGone=${gone} reload=${reload} />`}
    </${Loaded}>
  </section>`;
}

function Answers({ known, name, onGone, reload }) {
  const asked = known.position !== null;
  return html`
    ${
      asked &&
      !known.facts.length &&
      html`<${Empty} title="Nothing yet">
      <p>Tell it something in the chat. What it is at least ${percent(known.sure_min)} sure of is shown here,
        with the turn that says so.</p></${Empty}>`
    }
    ${
      asked &&
      known.refreshing &&
      html`<p class="hint">This is as of its first ${count(known.position, "turn")}.</p>`
    }
    <ul class="known">
      ${known.facts.map(
        (fact) => html`<${Fact} key=${fact.question} fact=${fact} name=${name}
      onGone=${onGone} reload=${reload} />`,
      )}</ul>
    ${
      known.unknown.length > 0 &&
      html`<details>
        <summary class="quiet small">${count(known.unknown.length, "question")} without an answer</summary>
        <ul class="small quiet">${known.unknown.map((question) => html`<li>${question}</li>`)}</ul>
          </details>`
    }`;
}

function Fact({ fact, name, onGone, reload }) {
  const [correcting, setCorrecting] = useState(false);
  const forgetIt = async () => {
    const positions = await forget(name, [fact.position]);
    if (positions) onGone();
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
    say("It was told. It is being asked anew.");
    reload();
  };
  return html`<li class="fact">
    <p class="quiet small">${fact.question}</p>
    <${Words} text=${fact.answer} />
    <p class="small quiet"><q class="whole-text" dir="auto">${fact.said}</q></p>
    <div class="row small">
      ${fact.read || html`<${Bar} share=${fact.sure} label=${`${percent(fact.sure)} sure`} />`}
        <span class="quiet numbers">${
          fact.read ? `read in turn ${fact.position}` : `${percent(fact.sure)} sure · turn ${fact.position}`
        }</span>
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
  const [nearOnly, setNearOnly] = useState(false);
  const [chosen, setChosen] = useState(new Set());
  const box = useRef(null);
  const search = async (fields) => {
    const query = fields.get("query").trim();
    if (!query) return;
    const answer = await post(path(name, "/forget"), { query });
    setNearOnly(!answer.found.length);
    setFound(answer.found.length ? answer.found : answer.near);
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
    ${found && found.length > 0 && nearOnly && html`<p class="hint">No turn has all of these words. Nearest:</p>`}
    ${
      found &&
      found.length > 0 &&
      html`<ul class="found">
      ${found.map(
        (turn) => html`<li key=${turn.position}><label class="check">
      <input type="checkbox" checked=${chosen.has(turn.position)} onChange=${() => toggle(turn.position)} />
      <span><span class="whole-text" dir="auto">${turn.messages.at(-1)?.content ?? ""}</span>
        <span class="small quiet numbers">turn ${turn.position} · ${moment(turn.created)}</span></span>
          </label></li>`,
      )}</ul>
      <div class="row end"><button class="danger" disabled=${!chosen.size}
        onClick=${forgetChosen}>Forget ${chosen.size || ""}</button></div>`
    }
  </section>`;
}
