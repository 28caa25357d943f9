// The system: whether it is well, what it does, where adapters are, and all trainings.
import { get } from "./api.mjs";
import { Empty, Loaded, useLoaded } from "./loading.mjs";
import { all, by, parsed, quantile, total } from "./metrics.mjs";
import { at } from "./places.mjs";
import { Spark } from "./spark.mjs";
import { State } from "./training.mjs";
import { Bar, html, useRef } from "./view.mjs";
import { ago, bytes, compact, count, lasting, short, whole } from "./words.mjs";

const LOOK_MS = 2000;
const KEPT = 90;
const REFUSED = new Set(["429", "503"]);

export default function System() {
  const history = useRef([]);
  const seen = useLoaded(
    async (signal) => {
      const [text, ready] = await Promise.all([
        fetch("/metrics", { signal, cache: "no-store" }).then((answer) => answer.text()),
        fetch("/readyz", { signal, cache: "no-store" }).then((answer) => answer.json()),
      ]);
      history.current = [
        ...history.current.slice(-KEPT),
        { at: performance.now() / 1000, samples: parsed(text) },
      ];
      return { ready, history: history.current };
    },
    [],
    LOOK_MS,
  );
  return html`<section><div class="head"><h1 class="grow">System</h1></div>
    <${Loaded} of=${seen}>${({ ready, history: looks }) => html`<div class="stack">
      <${Health} ready=${ready} /><${Traffic} looks=${looks} />
      <div class="pair"><${Hosts} samples=${looks.at(-1).samples} />
        <${Tiers} samples=${looks.at(-1).samples} /></div>
      <${Routes} samples=${looks.at(-1).samples} /><${Jobs} />
    </div>`}</${Loaded}></section>`;
}

function Health({ ready }) {
  const well = ready.status === "ready";
  return html`<p class="row" role="status">
    <span class=${well ? "chip good" : "chip bad"}>${well ? "Everything answers" : "Not ready"}</span>
    ${
      !well &&
      ["hosts", "engine"]
        .filter((part) => ready[part] !== "ok")
        .map(
          (part) => html`<span
      class="chip warm" key=${part}>${part}: ${ready[part]}</span>`,
        )
    }
    ${
      !well &&
      html`<span class="quiet small">Replies wait until it is. The log of <code>populace serve</code> says
      why.</span>`
    }</p>`;
}

/** Counters as rates between looks. */
function rates(looks, value) {
  return looks
    .slice(1)
    .map((look, index) =>
      Math.max(0, (value(look.samples) - value(looks[index].samples)) / (look.at - looks[index].at)),
    );
}

function Traffic({ looks }) {
  const { samples } = looks.at(-1);
  const first = looks[0].samples;
  const requests = (set) =>
    total(set, "populace_http_requests_total", ({ route }) => route.startsWith("/v1"));
  const refused = total(samples, "populace_http_requests_total", ({ status }) => REFUSED.has(status));
  const tokens = (set) => total(set, "populace_tokens_total", ({ kind }) => kind === "completion");
  const wait =
    quantile(samples, looks.length > 1 ? first : null, "populace_first_token_seconds", 0.5) ??
    quantile(samples, null, "populace_first_token_seconds", 0.5);
  const reply = quantile(samples, null, "populace_reply_seconds", 0.5);
  return html`<div class="tiles">
    <${Tile} title="Requests" value=${compact(requests(samples))} line=${rates(looks, requests)}
      unit="a second" />
    <${Tile} title="Tokens of replies" value=${compact(tokens(samples))} line=${rates(looks, tokens)}
      unit="a second" />
    <${Tile} title="First token" value=${wait === null ? "–" : lasting(wait)} note="half come sooner" />
    <${Tile} title="Whole reply" value=${reply === null ? "–" : lasting(reply)} note="half come sooner" />
    <${Tile} title="Turns under way" value=${whole(total(samples, "populace_host_busy"))}
      note=${`${whole(total(samples, "populace_host_waiting"))} wait`} />
    <${Tile} title="Refused" value=${compact(refused)} note="because too much was asked for" />
  </div>`;
}

function Tile({ title, value, note, line, unit }) {
  const now = line?.at(-1);
  return html`<div class="sheet tile"><p class="small quiet">${title}</p><p class="value numbers">${value}</p>
    ${
      line
        ? html`<${Spark} values=${line} label=${`${title}: ${now?.toFixed(1) ?? 0} ${unit}`} />
      <p class="small quiet numbers">${now === undefined ? "…" : `${now.toFixed(1)} ${unit}`}</p>`
        : html`<p class="small quiet">${note}</p>`
    }</div>`;
}

function Hosts({ samples }) {
  const hosts = all(samples, "populace_host_active").map((one) => one.labels.host);
  const of = (name) => by(samples, name, "host");
  const [active, shards, turns, resident, most, refusals] = [
    "active",
    "shards",
    "turns_total",
    "resident_bytes",
    "resident_bytes_max",
    "refusals_total",
  ].map((name) => of(`populace_host_${name}`));
  const free = Math.min(...all(samples, "populace_store_disk_free_bytes").map((one) => one.value));
  if (!hosts.length)
    return html`<section class="sheet"><h2>Hosts</h2>
    <${Empty} title="No host answers">
    <p>They start again by themselves; turns wait for them.</p></${Empty}></section>`;
  return html`<section class="sheet flush"><header><h2>Hosts</h2>
    <span class="quiet small">${bytes(total(samples, "populace_store_file_bytes"))} stored,
    ${` ${bytes(free)}`} free</span></header>
    <div class="scrolls" tabindex="0" role="region" aria-label="Hosts">
      <table><thead><tr><th scope="col">host</th><th scope="col" class="number">shards</th>
      <th scope="col" class="number">awake</th><th scope="col" class="number">turns</th>
      <th scope="col" class="number">refused</th><th scope="col">memory</th></tr></thead>
    <tbody>${hosts.map(
      (host) => html`<tr key=${host}><td class="whole">${host}</td>
      <td class="number">${shards.get(host)}</td><td class="number">${whole(active.get(host))}</td>
      <td class="number">${compact(turns.get(host) ?? 0)}</td>
        <td class="number">${compact(refusals.get(host) ?? 0)}</td>
      <td><${Bar} share=${resident.get(host) / most.get(host)}
        label=${`${bytes(resident.get(host))} of ${bytes(most.get(host))}`} />
        <span class="small quiet numbers">${bytes(resident.get(host))}</span></td></tr>`,
    )}</tbody></table>
        </div></section>`;
}

/** Where adapters are: in the engine, in host memory; the rest lie on the disk. */
function Tiers({ samples }) {
  const replicas = all(samples, "populace_engine_running");
  const tiers = [
    ["hot", "In the engine"],
    ["warm", "In host memory"],
  ].filter(([tier]) => all(samples, `populace_${tier}_adapters`).length);
  const slots = total(samples, "populace_engine_adapter_slots");
  return html`<section class="sheet stack"><header><h2>Engines and adapters</h2></header>
    <p class="facts"><span><b>${replicas.length}</b> ${replicas.length === 1 ? "engine" : "engines"}</span>
      <span><b>${whole(total(samples, "populace_engine_running"))}</b> replies under way</span>
      <span><b>${whole(total(samples, "populace_engine_waiting"))}</b> wait</span>
        <span><b>${whole(total(samples, "populace_engine_adapters_hot"))}</b> of <b>
        ${whole(slots)}</b> adapter slots</span></p>
    ${
      !replicas.length &&
      html`<p
      class="hint">No engine answers. It is starting, or it failed: the log of <code>populace serve</code>
      says which.</p>`
    }
    ${tiers.map(([tier, title]) => {
      const of = (name) => total(samples, `populace_${tier}_${name}`);
      const [adapters, held, most] = ["adapters", "bytes", "bytes_max"].map(of);
      const [hits, loads, evictions] = ["hits_total", "loads_total", "evictions_total"].map(of);
      return html`<div key=${tier}><p class="row small"><b class="grow">${title}</b>
        <span class="quiet numbers">
        ${count(adapters, "adapter")}${held ? `, ${bytes(held)}` : ""}</span></p>
        ${most > 0 && html`<${Bar} share=${held / most} label=${`${bytes(held)} of ${bytes(most)}`} />`}
        <p class="small quiet numbers">
          ${compact(hits)} found there, ${compact(loads)} loaded, ${compact(evictions)} let go</p></div>`;
    })}
    ${!tiers.length && replicas.length > 0 && html`<p class="hint">No adapter was asked for yet.</p>`}
  </section>`;
}

function Routes({ samples }) {
  const routes = new Map();
  for (const { labels, value } of all(samples, "populace_http_requests_total")) {
    if (!labels.route.startsWith("/v1")) continue;
    const row = routes.get(labels.route) ?? { answered: 0, errors: 0 };
    row.answered += value;
    if (labels.status >= "400") row.errors += value;
    routes.set(labels.route, row);
  }
  const rows = [...routes].sort((one, other) => other[1].answered - one[1].answered).slice(0, 12);
  return html`<section class="sheet flush"><header><h2>Requests of this gateway</h2></header>
    <div class="scrolls" tabindex="0" role="region" aria-label="Requests"><table>
    <thead><tr><th scope="col">route</th><th scope="col" class="number">answered</th>
      <th scope="col" class="number">errors</th></tr></thead>
    <tbody>${rows.map(
      ([route, { answered, errors }]) => html`<tr key=${route}><td><code>${route}</code></td>
      <td class="number">${whole(answered)}</td>
      <td class="number">${errors ? html`<span class="chip warm">${whole(errors)}</span>` : "0"}</td>
        </tr>`,
    )}</tbody></table></div></section>`;
}

function Jobs() {
  const jobs = useLoaded((signal) => get("/v1/jobs?limit=50", { signal }), [], LOOK_MS * 2);
  return html`<section class="sheet flush"><header><h2>Trainings</h2></header>
    <${Loaded} of=${jobs}>${({ data }) =>
      data.length
        ? html`<div class="scrolls" tabindex="0" role="region" aria-label="Trainings">
      <table><thead><tr><th scope="col">person</th><th scope="col">state</th><th scope="col">progress</th>
      <th scope="col">method</th><th scope="col">revision</th><th scope="col">when</th></tr></thead>
      <tbody>${data.map(
        (job) => html`<tr key=${job.id}>
        <td><a href=${at("people", job.model, "training")}>${job.model}</a></td>
        <td><${State} job=${job} /></td>
        <td>${
          job.steps
            ? html`<${Bar} share=${job.step / job.steps}
          label=${`step ${job.step} of ${job.steps}`} />`
            : ""
        }</td><td>${job.method}</td>
        <td>${job.revision ? html`<code class="small">${short(job.revision)}</code>` : ""}</td>
          <td class="quiet small">${ago(job.created)}</td></tr>`,
      )}</tbody></table></div>`
        : html`<${Empty} title="Nothing was trained yet">
      <p>Open a person and go to Training.</p></${Empty}>`}</${Loaded}></section>`;
}
