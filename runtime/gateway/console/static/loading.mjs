// What is loaded for a page: while it comes, when it failed, and again when the server has come back.
import { Failure, onReturn, readiness } from "./api.mjs";
import { RequestLink } from "./places.mjs";
import { Coded, html, useCallback, useEffect, useRef, useState } from "./view.mjs";

const LIMIT_MS = 8000;

/**
 * Load a value when `dependencies` change, and each `everyMs` while the page is looked at and nothing loads.
 *
 * Returns {value, failure, reload}; the last value stays while a newer one is on its way, or failed. A load
 * that takes longer than `limitMs` has failed.
 */
export function useLoaded(load, dependencies, { everyMs = 0, limitMs = LIMIT_MS } = {}) {
  const [state, setState] = useState({ value: undefined, failure: null });
  const running = useRef(null);
  const reload = useCallback(async () => {
    running.current?.abort();
    const abort = new AbortController();
    running.current = abort;
    let late = null;
    const timer = setTimeout(() => {
      late = new Failure(`The server does not answer within ${limitMs / 1000} s.`, { code: "slow" });
      abort.abort();
    }, limitMs);
    try {
      const value = await load(abort.signal);
      if (late) throw late;
      if (!abort.signal.aborted) setState({ value, failure: null });
    } catch (error) {
      if (abort.signal.aborted && !late) return;
      if (!late && !(error instanceof Failure)) throw error;
      setState((before) => ({ ...before, failure: late ?? error }));
    } finally {
      clearTimeout(timer);
      if (running.current === abort) running.current = null;
    }
  }, dependencies);
  useEffect(() => {
    setState({ value: undefined, failure: null });
    reload();
    return () => running.current?.abort();
  }, [reload]);
  useEffect(() => onReturn(reload), [reload]);
  useEffect(() => {
    if (!everyMs) return undefined;
    const timer = setInterval(() => document.hidden || running.current || reload(), everyMs);
    return () => clearInterval(timer);
  }, [reload, everyMs]);
  return { ...state, reload };
}

/** Draw `children` with the value once it is there, and else a placeholder or the failure. */
export function Loaded({ of, children }) {
  if (of.value !== undefined) return children(of.value);
  if (of.failure) return html`<${Problem} failure=${of.failure} again=${of.reload} />`;
  return html`<div class="skeleton" role="status" aria-label="Loading"><i /><i /><i /></div>`;
}

/** What went wrong and what to do about it: `children` are buttons beside that for another try. */
export function Problem({ failure, again, children }) {
  return html`<div class="sheet failure" role="alert">
    <p><${Coded} text=${failure.message} /></p>
    ${failure.advice && html`<p><${Coded} text=${failure.advice} /></p>`}
    <${RequestLink} id=${failure.request} />
    ${
      (again || children) &&
      html`<div class="row end">${children}
        ${again && html`<button type="button" onClick=${again}>Try again</button>`}</div>`
    }
  </div>`;
}

/** The same below the form that it is about. */
export function Said({ failure }) {
  return html`<div class="wrong" role="alert"><p><${Coded} text=${failure.message} /></p>
    ${failure.advice && html`<p class="small"><${Coded} text=${failure.advice} /></p>`}
    <${RequestLink} id=${failure.request} /></div>`;
}

/** In place of a page whose module did not come, as the server was away or no longer has it. */
export function Outdated() {
  // A module that failed once does not come until the console is loaded anew. Looking finds out whether the
  // server is away.
  useEffect(() => {
    readiness().catch(() => null);
    return onReturn(() => location.reload());
  }, []);
  const failure = {
    message: "This page could not be loaded: the server was away, or may have a newer console.",
    advice: "Load the console again.",
  };
  return html`<${Problem} failure=${failure} again=${() => location.reload()} />`;
}

/** What there is not yet, and how it comes about. */
export function Empty({ title, children }) {
  return html`<div class="empty"><h2>${title}</h2>${children}</div>`;
}
