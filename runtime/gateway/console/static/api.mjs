// Requests to the API: what comes back, what went wrong and what to do about it.
import { signal } from "./view.mjs";
import { dismiss, key } from "./session.mjs";

/** Whether the server answers; while it does not, the console looks again by itself. */
export const reachable = signal(true);

const returns = signal(0);

/** Do something each time that the server has come back, from now on. Returns what ends that. */
export function onReturn(work) {
  const from = returns.peek();
  return returns.subscribe((times) => times > from && work());
}

/** Wait for a while, and until the server answers. Throws AbortError once the signal says so. */
export async function returned(pauseMs, abort) {
  const until = performance.now() + pauseMs;
  while (!abort.aborted && (performance.now() < until || !reachable.peek()))
    await new Promise((done) => setTimeout(done, LOOK_MS));
  abort.throwIfAborted();
}

const AGAIN_MS = 1500;
const LOOK_MS = 100;

/** What to do about an error whose message does not say it. */
const ADVICE = {
  unreachable: "The console tries again by itself. If it stays like this, see whether `populace serve` runs.",
  unauthorized: "Sign in with a key that is valid: `populace key create` makes one.",
  model_not_found: "It may have been erased. Go back to the list of people.",
  model_exists: "Choose another name.",
  route_not_found: "This server lacks a part that the console asks for: it may have been started without it.",
  mailbox_full: "Wait for the replies under way, and try again.",
  engine_unavailable: "The engine is starting or has failed: see System, and try again in a moment.",
  host_unavailable: "A part of the server restarts: try again in a moment.",
  nothing_to_train: "Talk, and judge or correct a few replies first.",
  training_under_way: "Wait for it, or cancel it.",
  request_not_found:
    "The id is in the header X-Request-Id of every response, and below every error here. " +
    "`populace logs --request` on the server finds what was sent with other keys too.",
  slow: "It may be overloaded, or a part of it hangs: see System.",
  foreign: "A proxy between this page and the server answers in its place: sign in there first.",
  broken: "Send it again: a reply that was recorded already comes back as it is.",
};

export class Failure extends Error {
  constructor(message, { status = 0, code = "unreachable", request = null, retryAfter = null } = {}) {
    super(message);
    Object.assign(this, { status, code, request, retryAfter });
  }

  /** What to do now, in words. */
  get advice() {
    if (ADVICE[this.code]) return ADVICE[this.code];
    if (this.retryAfter) return `Try again in ${this.retryAfter} s.`;
    if (this.status >= 500) return "Try again. If it happens again, the server's log has the details.";
    return "";
  }
}

export const path = (name, more = "") => `/v1/personal-models/${encodeURIComponent(name)}${more}`;

/** Ask for something without a key, whatever the status of what answers. Throws Failure if nothing does. */
export async function fetched(address, options) {
  try {
    return await fetch(address, { cache: "no-store", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    lost();
    throw new Failure("The server does not answer.");
  }
}

/** Send a request with this key, or the session's. Throws Failure. */
export async function send(method, address, { body, headers, signal: abort, as } = {}) {
  const presented = as ?? key.value;
  const response = await fetched(address, {
    method,
    headers: {
      authorization: `Bearer ${presented}`,
      ...(body === undefined ? {} : { "content-type": "application/json" }),
      ...headers,
    },
    body: body === undefined ? undefined : JSON.stringify(body),
    signal: abort,
  });
  if (!response.ok) throw await failed(response, as === undefined ? presented : null);
  return response;
}

export const get = (address, options) => told("GET", address, options);
export const put = (address, body) => told("PUT", address, { body });
export const post = (address, body, options) => told("POST", address, { body, ...options });
export const remove = (address) => told("DELETE", address);

/** Send a request and return the object that is answered. Throws Failure, also for a page of a proxy's. */
async function told(method, address, options) {
  const response = await send(method, address, options);
  const answered = await toldBy(response);
  if (answered !== null) return answered;
  throw new Failure("What answered is not Populace.", { status: response.status, code: "foreign" });
}

/** Send a request and yield the objects of the events that come. Throws Failure, also for an event of one. */
export async function* events(address, body, { signal: abort, headers } = {}) {
  const response = await send("POST", address, { body, headers, signal: abort });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    let part;
    try {
      part = await reader.read();
    } catch (error) {
      if (error.name === "AbortError") throw error;
      lost();
      throw new Failure("The connection broke before the reply was whole.", { code: "broken" });
    }
    if (part.done) throw new Failure("The reply ended before it was whole.", { code: "broken" });
    held += part.value;
    for (let end; (end = held.indexOf("\n\n")) >= 0; held = held.slice(end + 2)) {
      const data = held
        .slice(0, end)
        .split("\n")
        .find((line) => line.startsWith("data: "))
        ?.slice(6);
      if (data === "[DONE]") return;
      if (data === undefined) continue;
      const told = JSON.parse(data);
      if (told.error) throw of(told.error, 0);
      yield told;
    }
  }
}

/** Whether the server is ready and what of it is not, which it tells with a 503 too. Throws Failure. */
export async function readiness(options) {
  const response = await fetched("/readyz", options);
  const told = await toldBy(response);
  if (!told?.degraded) throw failureOf(told, response);
  return told;
}

/** The Failure of a response that is none of what was asked for; if a session's key was sent, it may end. */
export async function failed(response, sent = null) {
  const told = await toldBy(response);
  if (response.status === 401 && sent !== null)
    dismiss(sent, "The key is no longer valid. Sign in with another one.");
  return failureOf(told, response);
}

/** The body's JSON, or null: what is between this page and the server answers in words of its own. */
const toldBy = (response) =>
  response.json().catch((error) => {
    if (error.name === "AbortError") throw error;
    return null;
  });

function failureOf(told, response) {
  const { status } = response;
  const retryAfter = Number(response.headers.get("retry-after")) || null;
  if (told?.error) return of(told.error, status, retryAfter);
  return new Failure(`The server answered ${status}.`, { status, code: "", retryAfter });
}

function of(told, status, retryAfter = null) {
  return new Failure(told.message, { status, code: told.code, request: told.request_id ?? null, retryAfter });
}

let looking = false;

/** Look for the server until it answers. */
async function lost() {
  reachable.value = false;
  if (looking) return;
  looking = true;
  while (!reachable.value) {
    await new Promise((done) => setTimeout(done, AGAIN_MS));
    try {
      reachable.value = (await fetch("/healthz", { cache: "no-store" })).ok;
    } catch {
      // It is still away.
    }
  }
  looking = false;
  returns.value += 1;
}
