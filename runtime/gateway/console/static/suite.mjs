// The questions that a model has to answer, and how its revisions answer them.
import { Failure, get, path, post, put, remove } from "./api.mjs";
import { confirm } from "./dialogs.mjs";
import { Form } from "./forms.mjs";
import { Empty, Loaded, useLoaded } from "./loading.mjs";
import { attempt, say } from "./notices.mjs";
import { Words } from "./turn.mjs";
import { html, useState } from "./view.mjs";
import { short } from "./words.mjs";

const CHECKS = {
  contains: "contains it",
  exact: "is exactly it",
  number: "is this number",
  matches: "matches it",
  likeness: "is nearly the same words",
};
const NEW = { ask: "", expect: "", check: "contains", system: null, least: null };

export default function Suite({ model }) {
  const suite = useLoaded(
    async (signal) => {
      try {
        return (await get(path(model.id, "/suite"), { signal })).questions;
      } catch (error) {
        if (error instanceof Failure && error.code === "suite_not_found") return [];
        throw error;
      }
    },
    [model.id],
  );
  return html`<${Loaded} of=${suite}>${(questions) => html`<div class="stack">
    <${Editor} name=${model.id} stored=${questions} reload=${suite.reload} key=${JSON.stringify(questions)} />
    ${questions.length > 0 && html`<${Results} model=${model} questions=${questions} />`}
  </div>`}</${Loaded}>`;
}

function Editor({ name, stored, reload }) {
  const [questions, setQuestions] = useState(stored.length ? stored : []);
  const changed = JSON.stringify(questions) !== JSON.stringify(stored);
  const set = (index, field, value) =>
    setQuestions(questions.map((one, at) => (at === index ? { ...one, [field]: value } : one)));
  const save = async () => {
    const kept = questions.map((one) =>
      Object.fromEntries(Object.entries(one).filter(([, value]) => value !== null && value !== "")),
    );
    await put(path(name, "/suite"), { questions: kept });
    say("No training will replace a revision by one that fails what it passed.");
    reload();
  };
  const drop = async () => {
    const agreed = await confirm({
      title: "Remove the suite?",
      text: "Trainings are judged by what was held out alone then.",
      action: "Remove",
      danger: true,
    });
    if (agreed && (await attempt(() => remove(path(name, "/suite"))))) reload();
  };
  return html`<${Form} class="sheet" send=${save}>
    <header><h2>Questions that ${name}'s model has to answer</h2>
      ${
        stored.length > 0 &&
        html`<button type="button" class="plain danger"
      onClick=${drop}>Remove all</button>`
      }</header>
    ${
      questions.length === 0 &&
      html`<${Empty} title="There are no questions yet">
      <p>Write down what it must not forget. Each training is judged by them,
      and you can ask them of any revision.</p></${Empty}>`
    }
    <ol class="questions">${questions.map(
      (question, index) => html`<li key=${index} class="fields">
      <label>Ask<input required value=${question.ask}
        onInput=${(event) => set(index, "ask", event.target.value)} dir="auto"
        placeholder="What is my dog called?" /></label>
      <label>The reply<select value=${question.check}
        onChange=${(event) => set(index, "check", event.target.value)}>
        ${Object.entries(CHECKS).map(
          ([id, title]) => html`<option key=${id} value=${id}>
          ${title}</option>`,
        )}</select></label>
      <label>Expected<input required value=${question.expect}
        onInput=${(event) => set(index, "expect", event.target.value)} dir="auto" placeholder="Bruno" />
        </label>
      <button type="button" class="plain danger" aria-label=${`Remove question ${index + 1}`}
        onClick=${() => setQuestions(questions.filter((_, at) => at !== index))}>Remove</button>
    </li>`,
    )}</ol>
    <div class="row end"><button type="button"
      onClick=${() => setQuestions([...questions, NEW])}>Add a question</button>
      <button class="main" disabled=${!changed || !questions.length}>Save</button></div>
  </${Form}>`;
}

/** A column for each revision that was asked since the page was opened. */
function Results({ model, questions }) {
  const revisions = useLoaded((signal) => get(path(model.id, "/revisions"), { signal }), [model.id]);
  const [results, setResults] = useState([]);
  const [asked, setAsked] = useState("latest");
  const [busy, setBusy] = useState(false);
  const ask = async (event) => {
    event.preventDefault();
    setBusy(true);
    const result = await attempt(() => post(path(model.id, "/suite/evaluations"), { revision: asked }));
    setBusy(false);
    if (result) setResults([...results.filter((one) => one.revision !== result.revision), result]);
  };
  return html`<section class="sheet">
    <header><h2>Results</h2><form class="row" onSubmit=${ask}>
      <select value=${asked} onChange=${(event) => setAsked(event.target.value)} aria-label="Revision to ask">
        <option value="latest">what is served</option><option value="base">the base</option>
        ${revisions.value?.data.toReversed().map(
          (revision) => html`<option key=${revision.id}
          value=${revision.id}>${short(revision.id)} (${revision.method})</option>`,
        )}
      </select><button class="main" disabled=${busy}>${busy ? "Asking…" : "Ask"}</button></form></header>
    ${busy && html`<div class="bar moving" role="status" aria-label="Asking"><i /></div>`}
    ${
      !results.length &&
      !busy &&
      html`<p
      class="hint">They are asked as the model is served, and nothing of it is logged or remembered.</p>`
    }
    ${
      results.length > 0 &&
      html`<div class="scrolls" tabindex="0" role="region" aria-label="Results"><table>
      <thead><tr><th scope="col">question</th>
        ${results.map(
          (result) => html`<th scope="col" key=${result.revision}>
        <code>${short(result.revision)}</code> <span
          class=${result.passed === result.total ? "chip good" : "chip warm"}>
          ${result.passed} of ${result.total}</span></th>`,
        )}</tr></thead>
      <tbody>${questions.map(
        (question) => html`<tr key=${question.ask}><td dir="auto">${question.ask}</td>
        ${results.map((result) => {
          const row = result.rows.find((one) => one.ask === question.ask);
          return html`<td key=${result.revision}>
            ${
              row &&
              html`<span class=${row.passed ? "chip good" : "chip bad"}>
            ${row.passed ? "passed" : "failed"}</span><${Words} text=${row.reply} />`
            }</td>`;
        })}</tr>`,
      )}</tbody></table></div>`
    }
  </section>`;
}
