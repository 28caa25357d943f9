// The system: whether it is well, what it does, where adapters are, and all trainings.
import { failed, fetched, get, readiness } from "./api.mjs";
import { Empty, Loaded, Problem, useLoaded } from "./loading.mjs";
import { all, by, fell, parsed, quantile, total } from "./metrics.mjs";
import { at, place } from "./places.mjs";
import { LookUp, RequestPage } from "./request.mjs";
import { Spark } from "./spark.mjs";
import { OPEN, State } from "./training.mjs";
import { Bar, html, useRef } from "./view.mjs";
import { ago, bytes, compact, count, decimal, lasting, percent, short, whole } from "./words.mjs";

const LOOK_MS = 2000;
const KEPT = 90;
const RATE_LOOKS = 5;
/** The codes of what is refused because too much was asked for; probes have none of them. */
const REFUSED = new Set(["overloaded", "mailbox_full", "host_overloaded", "engine_overloaded"]);

export default function System() {
  const [, part, id] = place.value;
  return part === "requests" && id ? html`<${RequestPage} id=${id} />` : html`<${Overview} />`;
}

/** Whether it is well and what it does are asked for apart: one of them may hang, and the other not. */
function Overview() {
  const history = useRef([]);
  const health = useLoaded((signal) => readiness({ signal }), [], { everyMs: LOOK_MS });
  const figures = useLoaded(
    async (signal) => {
      const metrics = await fetched("/metrics", { signal });
      if (metrics.status === 404) return null;
      if (!metrics.ok) throw await failed(metrics);
      const samples = parsed(await metrics.text());
      const last = history.current.at(-1);
      if (last && fell(last.samples, samples, "populace_http_requests_total")) history.current = [];
      history.current = [...history.current.slice(-KEPT), { at: performance.now() / 1000, samples }];
      return history.current;
    },
    [],
    { everyMs: LOOK_MS },
  );
  return html`<section><div class="head"><h1 class="grow">System</h1></div>
    <div class="stack">
      ${
        health.failure
          ? html`<${Problem} failure=${health.failure} />`
          : html`<${Loaded} of=${health}>${(ready) => html`<${Health} ready=${ready} />`}</${Loaded}>`
      }
      ${
        figures.value !== undefined &&
        figures.failure &&
        figures.failure.code !== health.failure?.code &&
        html`<${Problem} failure=${figures.failure} />`
      }
      <${Loaded} of=${figures}>${(looks) =>
        looks
          ? html`<${Figures} looks=${looks} degraded=${health.value?.degraded ?? {}} />`
          : html`<${Elsewhere} />`}</${Loaded}>
      <${Jobs} /><${LookUp} /></div></section>`;
}

function Figures({ looks, degraded }) {
  const { samples } = looks.at(-1);
  return html`<div class="stack"><${Traffic} looks=${looks} />
    <div class="pair"><${Hosts} samples=${samples} degraded=${degraded} />
      <${Tiers} samples=${samples} /></div>
    <${Engines} samples=${samples} looks=${looks} />
    <${Routes} samples=${samples} /></div>`;
}

function Elsewhere() {
  return html`<section class="sheet"><${Empty} title="The figures are kept elsewhere">
    <p>This server has its metrics at an address of their own, and not here:
      <code> POPULACE_METRICS_PORT</code> says so. Without that setting this page shows traffic, hosts and
      engines.</p></${Empty}></section>`;
}

/** What of the server does not do its work, by name. */
function Health({ ready }) {
  const lacking = Object.entries(ready.degraded);
  const [tone, words] =
    ready.status !== "ready"
      ? ["bad", "Not ready"]
      : lacking.length
        ? ["warm", "Degraded"]
        : ["good", "Healthy"];
  return html`<div class="stack" role="status"><p class="row">
    <span class=${`chip ${tone}`}>${words}</span>
    ${
      ready.status !== "ready" &&
      ["hosts", "engine"]
        .filter((part) => ready[part] !== "ok")
        .map((part) => html`<span class="chip warm" key=${part}>${part}: ${ready[part]}</span>`)
    }
    ${
      ready.unserved_share > 0 &&
      html`<span class="small">${percent(ready.unserved_share)} of the people are refused meanwhile.</span>`
    }</p>
    ${
      lacking.length > 0 &&
      html`<ul class="small">${lacking.map(
        ([name, lack]) => html`<li key=${name}><b>${name}</b> ${lack}</li>`,
      )}</ul>`
    }
    ${
      tone !== "good" &&
      html`<p class="quiet small">It starts again by itself, and replies wait until then. <code>populace logs
      --level warning --since 10m</code> says why.</p>`
    }</div>`;
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
  const refused = total(samples, "populace_errors_total", ({ code }) => REFUSED.has(code));
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
    <${Tile} title="First token" value=${wait === null ? "–" : lasting(wait)} note="median" />
    <${Tile} title="Whole reply" value=${reply === null ? "–" : lasting(reply)} note="median" />
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

function Hosts({ samples, degraded }) {
  const up = by(samples, "populace_host_up", "host");
  const of = (name) => by(samples, `populace_host_${name}`, "host");
  const [active, shards, turns] = ["active", "shards", "turns_total"].map(of);
  const [resident, most, refusals] = ["resident_bytes", "resident_bytes_max", "refusals_total"].map(of);
  const free = Math.min(...all(samples, "populace_store_disk_free_bytes").map((one) => one.value));
  if (!up.size)
    return html`<section class="sheet"><h2>Hosts</h2>
    <${Empty} title="No host answers">
    <p>They start again by themselves; turns wait for them.</p></${Empty}></section>`;
  return html`<section class="sheet flush"><header><h2>Hosts</h2>
    <span class="quiet small">${bytes(total(samples, "populace_store_file_bytes"))} stored,
    ${` ${Number.isFinite(free) ? bytes(free) : "–"}`} free</span></header>
    <div class="scrolls" tabindex="0" role="region" aria-label="Hosts">
      <table><thead><tr><th scope="col">host</th><th scope="col" class="number">shards</th>
      <th scope="col" class="number">awake</th><th scope="col" class="number">turns</th>
      <th scope="col" class="number">refused</th><th scope="col">memory</th></tr></thead>
    <tbody>${[...up].map(([host, answers]) =>
      answers
        ? html`<tr key=${host}><td class="whole">${host}
      ${degraded[host] && html` <span class="chip warm">${degraded[host]}</span>`}</td>
      <td class="number">${shards.get(host)}</td><td class="number">${whole(active.get(host))}</td>
      <td class="number">${compact(turns.get(host) ?? 0)}</td>
        <td class="number">${compact(refusals.get(host) ?? 0)}</td>
      <td><${Bar} share=${resident.get(host) / most.get(host)}
        label=${`${bytes(resident.get(host))} of ${bytes(most.get(host))}`} />
        <span class="small quiet numbers">${bytes(resident.get(host))}</span></td></tr>`
        : html`<tr key=${host}><td class="whole">${host}</td>
        <td colspan="5"><span class="chip bad">${degraded[host] ?? "does not answer"}</span></td></tr>`,
    )}</tbody></table>
        </div></section>`;
}

/** A replica's tokens a second over the last looks; null unless the first and the last of them show it. */
function tokenRate(looks, replica) {
  const few = looks.slice(-RATE_LOOKS);
  const [first, last] = [few[0], few.at(-1)].map(({ at: seconds, samples }) => ({
    seconds,
    tokens: by(samples, "populace_engine_generation_tokens_total", "replica").get(replica),
  }));
  if (first.tokens === undefined || last.tokens === undefined || few.length < 2) return null;
  return Math.max(0, (last.tokens - first.tokens) / (last.seconds - first.seconds));
}

/** Each replica of the engine, also one that there should be and is not. */
function Engines({ samples, looks }) {
  const of = (name) => by(samples, `populace_engine_${name}`, "replica");
  const [running, waiting, cache] = ["running", "waiting", "kv_used_ratio"].map(of);
  const [hot, slots] = ["adapters_hot", "adapter_slots"].map(of);
  const configured = total(samples, "populace_replicas_configured");
  const missing = Array.from({ length: configured }, (_, number) => String(number)).filter(
    (number) => !running.has(number),
  );
  return html`<section class="sheet flush"><header><h2>Engines</h2>
    <span class="quiet small">${whole(running.size)} of ${whole(configured)} answer</span></header>
    <div class="scrolls" tabindex="0" role="region" aria-label="Engines">
    <table><thead><tr><th scope="col">replica</th><th scope="col" class="number">replies</th>
      <th scope="col" class="number">wait</th><th scope="col" class="number">tokens a second</th>
      <th scope="col" class="number">adapters</th><th scope="col">cache</th></tr></thead>
    <tbody>${[...running].map(
      ([replica, now]) => html`<tr key=${replica}><td>${replica}</td>
      <td class="number">${whole(now)}</td><td class="number">${whole(waiting.get(replica) ?? 0)}</td>
      <td class="number">${decimal(tokenRate(looks, replica), 1)}</td>
      <td class="number">${whole(hot.get(replica) ?? 0)} of ${whole(slots.get(replica) ?? 0)}</td>
      <td>${
        cache.has(replica)
          ? html`<${Bar} share=${cache.get(replica)} label=${`${percent(cache.get(replica))} taken`} />`
          : "–"
      }</td></tr>`,
    )}${missing.map(
      (number) => html`<tr key=${number}><td>${number}</td>
      <td colspan="5"><span class="chip bad">does not answer</span>
        <span class="small quiet"> it is starting, or it failed</span></td></tr>`,
    )}</tbody></table></div></section>`;
}

/** Where adapters are: in the engine, in host memory; the rest lie on the disk. */
function Tiers({ samples }) {
  const tiers = [
    ["hot", "In the engine"],
    ["warm", "In host memory"],
  ].filter(([tier]) => all(samples, `populace_${tier}_adapters`).length);
  return html`<section class="sheet stack"><header><h2>Where adapters are</h2></header>
    ${tiers.map(([tier, title]) => {
      const of = (name) => total(samples, `populace_${tier}_${name}`);
      const [adapters, held, most] = ["adapters", "bytes", "bytes_max"].map(of);
      const [hits, loads, evictions] = ["hits_total", "loads_total", "evictions_total"].map(of);
      return html`<div key=${tier}><p class="row small"><b class="grow">${title}</b>
        <span class="quiet numbers">
        ${count(adapters, "adapter")}${held ? `, ${bytes(held)}` : ""}</span></p>
        ${most > 0 && html`<${Bar} share=${held / most} label=${`${bytes(held)} of ${bytes(most)}`} />`}
        <p class="small quiet numbers">
          ${compact(hits)} found there, ${compact(loads)} loaded, ${compact(evictions)} evicted</p></div>`;
    })}
    ${!tiers.length && html`<p class="hint">No adapter was asked for yet: all lie on the disk.</p>`}
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
  return html`<section class="sheet flush"><header><h2>Requests that were answered</h2></header>
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
  const jobs = useLoaded((signal) => get("/v1/jobs?limit=50", { signal }), [], {
    everyMs: LOOK_MS * 2,
  });
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
          job.steps && OPEN.has(job.state)
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
