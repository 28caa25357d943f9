// Trainings of a model: starting one, watching it learn, and what came of the others.
import { get, path, post, remove } from "./api.mjs";
import { confirm } from "./dialogs.mjs";
import { Curve } from "./curve.mjs";
import { Form } from "./forms.mjs";
import { Empty, Loaded, useLoaded } from "./loading.mjs";
import { attempt, say } from "./notices.mjs";
import { RequestLink } from "./places.mjs";
import { Bar, html, useEffect, useState } from "./view.mjs";
import { ago, compact, count, decimal, lasting, moment, short } from "./words.mjs";

/** The states of a training that has not ended. */
export const OPEN = new Set(["waiting", "running", "promoting"]);
const TONE = {
  promoted: "good",
  rejected: "warm",
  failed: "bad",
  running: "accent",
  promoting: "accent",
  waiting: "accent",
};
const STATE = { rejected: "not good enough", skipped: "nothing to learn" };
const WATCH_MS = 1000;
const REST_MS = 8000;

const METHODS = {
  sft: "Corrections and liked replies",
  preference: "Corrected before original replies",
  thumbs: "Thumbs up and down alone",
  distillation: "What its own log would have told it",
};

export default function Training({ model, reload }) {
  const [watching, setWatching] = useState(false);
  const jobs = useLoaded((signal) => get(path(model.id, "/jobs"), { signal }), [model.id], {
    everyMs: watching ? WATCH_MS : REST_MS,
  });
  const newest = jobs.value?.data[0];
  const isOpen = newest !== undefined && OPEN.has(newest.state);
  useEffect(() => {
    // It has just ended: what is served may be another revision now.
    if (watching && !isOpen) reload();
    setWatching(isOpen);
  }, [isOpen]);
  return html`<${Loaded} of=${jobs}>${({ data }) => html`<div class="stack">
    ${
      isOpen
        ? html`<${Watched} job=${data[0]} name=${model.id} reload=${jobs.reload} />`
        : html`<${Start}
      model=${model} reload=${jobs.reload} />`
    }
    ${
      data.length === 0
        ? html`<${Empty} title="Nothing was trained yet">
        <p>A training makes a revision of what ${model.id} corrected and liked. It is served only
        if it is better on what was held out, and one click takes it back.</p></${Empty}>`
        : html`<section class="sheet"><header><h2>Trainings</h2></header><ul class="jobs">
        ${data.slice(isOpen ? 1 : 0).map((job) => html`<${Job} key=${job.id} job=${job} />`)}</ul></section>`
    }
  </div>`}</${Loaded}>`;
}

function Start({ model, reload }) {
  const due = model.log_position - model.cursor;
  const start = async (form, key) => {
    const body = { method: form.get("method"), from_base: form.get("from_base") !== null };
    if (body.method === "sft") body.unjudged = form.get("unjudged") !== null;
    for (const name of ["epochs", "rank"]) if (form.get(name)) body[name] = Number(form.get(name));
    await post(path(model.id, "/jobs"), body, { headers: { "idempotency-key": key } });
    say("The training waits for the trainer.");
    reload();
  };
  return html`<${Form} class="sheet stack" send=${start}>
    <header><h2>Train ${model.id}</h2>
      <span class="quiet small">
      ${due > 0 ? `${count(due, "turn")} since the last training` : "no turn since the last training"}</span>
      </header>
    <div class="fields fit">
      <label>Learn from<select name="method">
        ${Object.entries(METHODS).map(
          ([id, title]) => html`<option key=${id} value=${id}>
        ${title}</option>`,
        )}</select></label>
      <label>Passes over the examples<input name="epochs" type="number" min="0.1" step="any"
        placeholder="until learned" /></label>
      <label>Rank of a new adapter<input name="rank" type="number" min="1" max="512"
        placeholder="as before, or 8" /></label>
    </div>
    <div class="row"><label class="check">
      <input type="checkbox" name="unjudged" /> Also replies that were not judged</label>
      <label class="check"><input type="checkbox" name="from_base" /> Begin anew from the base</label>
      <span class="grow"></span><button class="main">Train</button></div>
  </${Form}>`;
}

/** The training that is under way. */
function Watched({ job, name, reload }) {
  const cancel = async () => {
    const agreed = await confirm({
      title: "Cancel the training?",
      text: "What it learned so far is thrown away. What is served stays.",
      action: "Cancel the training",
      danger: true,
    });
    if (agreed && (await attempt(() => remove(path(name, "/jobs"))))) reload();
  };
  const what = job.reward === null ? "loss" : "reward";
  const now = job[what];
  const waits = job.state === "waiting";
  return html`<section class="sheet stack">
    <header><h2>Training ${job.number}</h2><${State} job=${job} />
      <button class="danger" onClick=${cancel}>Cancel</button></header>
    ${
      job.steps > 0
        ? html`<${Bar} share=${job.step / job.steps} label=${`step ${job.step} of ${job.steps}`} />`
        : html`<div class="bar moving"><i /></div>`
    }
    <p class="facts" aria-live="off">
      ${job.steps > 0 && html`<span>step <b>${job.step} of ${job.steps}</b></span>`}
      ${now !== null && html`<span>${what} <b>${decimal(now)}</b></span>`}${
        job.tokens > 0 &&
        html`<span>
        <b>${compact(job.tokens)}</b> tokens</span>`
      }
      ${job.seconds > 0 && html`<span><b>${lasting(job.seconds)}</b></span>`}</p>
    ${
      job.curve.length > 1
        ? html`<${Curve} points=${job.curve} label=${what} words=${`${what} by step, now ${decimal(now)}`} />`
        : html`<p class="hint">${waits ? "It waits for the trainer." : "The curve begins at step 2."}</p>`
    }
    ${job.plan && html`<p class="hint">${job.plan}</p>`}
    <${RequestLink} id=${job.request_id} what="Log and trace" />
  </section>`;
}

export function State({ job }) {
  return html`<span class=${`chip ${TONE[job.state] ?? ""}`}>${STATE[job.state] ?? job.state}</span>`;
}

function Job({ job }) {
  const [open, setOpen] = useState(false);
  const drawn = job.curve.length > 1;
  return html`<li><details onToggle=${(event) => setOpen(event.target.open)}>
    <summary><span class="row"><b>Training ${job.number}</b><${State} job=${job} />
      <span class="quiet small" title=${moment(job.created)}>
        ${job.method} · ${ago(job.created)}${job.steps ? ` · ${count(job.steps, "step")}` : ""}</span>
      ${job.revision && html`<code class="small quiet">${short(job.revision)}</code>`}</span></summary>
    ${
      open &&
      html`<div class="stack">
      ${job.reason && html`<p class="whole-text">${job.reason}</p>`}
      ${
        drawn &&
        html`<${Curve} points=${job.curve} label="loss"
        words=${`from ${decimal(job.curve[0][1])} to ${decimal(job.curve.at(-1)[1])}`} />`
      }
      <p class="facts">${
        job.log_range &&
        html`<span>turns <b>${job.log_range[0]}–${job.log_range[1]}</b>
        </span>`
      }
        <span><b>${compact(job.tokens)}</b> tokens</span>
          <span><b>${lasting(job.seconds)}</b> of the trainer</span>
        ${job.steps > 0 && html`<span>stopped after step <b>${job.step} of ${job.steps}</b></span>`}</p>
      ${job.plan && html`<p class="hint">${job.plan}</p>`}
      <${RequestLink} id=${job.request_id} what="Log and trace" />
    </div>`
    }
  </details></li>`;
}
