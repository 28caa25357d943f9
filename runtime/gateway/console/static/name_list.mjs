// A list of people that is longer than a browser can hold: pages near the view, and where the others begin.
import { Failure, get, onReturn } from "./api.mjs";
import { signal } from "./view.mjs";

const PAGE = 200;
const PAGES_KEPT = 12;

/** No element may be higher than some millions of pixels: of more pages than this the first are let go. */
const PAGES_SHOWN = 500;

export class NameList {
  /** `before` is the number of people above the first row. */
  constructor(prefix, first) {
    this.prefix = prefix;
    this.before = 0;
    this.starts = [first ? previous(first) : null];
    this.dropped = [];
    this.pages = new Map();
    this.loading = new Set();
    this.failed = new Set();
    this.missing = new Set();
    this.abort = new AbortController();
    this.last = null;
    this.seen = [0, 0];
    this.state = signal({ length: 0, ended: false, failure: null, missing: [], changes: 0 });
    this.stop = onReturn(() => this.again());
  }

  leave() {
    this.stop();
    this.abort.abort();
  }

  /** The person in a row; undefined while their page is on its way. */
  row(index) {
    return this.pages.get(Math.floor(index / PAGE))?.[index % PAGE];
  }

  /** Load what these rows need. Returns by how many rows everything moved, which a scroller follows. */
  see(from, to) {
    this.seen = [from, to];
    const first = Math.floor(from / PAGE);
    const last = Math.floor(to / PAGE);
    this.want(first, last);
    for (const page of this.pages.keys()) {
      if (this.pages.size > PAGES_KEPT && (page < first - PAGES_KEPT / 3 || page > last + PAGES_KEPT / 3))
        this.pages.delete(page);
    }
    if (first > PAGES_SHOWN * 0.8) return this.shift(Math.floor(PAGES_SHOWN / 2));
    if (first === 0 && this.dropped.length)
      return this.shift(-Math.min(this.dropped.length, Math.floor(PAGES_SHOWN / 2)));
    return 0;
  }

  /** Load these pages and one on either side; what follows a page is known only once that is here. */
  want(first, last) {
    for (let page = Math.max(0, first - 1); page <= last + 1; page += 1) this.load(page);
  }

  async load(page) {
    const start = this.starts[page];
    if (start === undefined || this.pages.has(page) || this.loading.has(start)) return;
    this.loading.add(start);
    const query = new URLSearchParams({
      limit: PAGE,
      prefix: this.prefix,
      ...(start === null ? {} : { after: start }),
    });
    try {
      const found = await get(`/v1/personal-models?${query}`, { signal: this.abort.signal });
      this.failed.delete(start);
      this.keep(this.starts.indexOf(start), found);
    } catch (error) {
      if (error instanceof Failure) {
        this.failed.add(start);
        this.state.value = { ...this.state.value, failure: error };
      } else if (error.name !== "AbortError") throw error;
    } finally {
      this.loading.delete(start);
    }
  }

  keep(page, found) {
    if (page < 0) return;
    this.pages.set(page, found.data);
    for (const unread of found.missing ?? []) this.missing.add(unread);
    if (found.after === null) this.last = { page: page + this.dropped.length, size: found.data.length };
    else if (this.starts[page + 1] === undefined) this.starts[page + 1] = found.after;
    this.want(...this.seen.map((row) => Math.floor(row / PAGE)));
    this.tell(this.failed.size ? this.state.value.failure : null);
  }

  /** Load once more what has failed. */
  again() {
    this.failed.clear();
    this.tell(null);
    this.see(...this.seen);
  }

  /** Let the first pages go, or take the last ones of those up again. */
  shift(pages) {
    const moved = new Map();
    for (const [page, rows] of this.pages) if (page - pages >= 0) moved.set(page - pages, rows);
    this.pages = moved;
    if (pages > 0) this.dropped.push(...this.starts.splice(0, pages));
    else this.starts.unshift(...this.dropped.splice(pages));
    this.before = this.dropped.length * PAGE;
    this.tell(this.state.value.failure);
    return -pages * PAGE;
  }

  tell(failure) {
    const known = this.starts.length - 1;
    const atEnd = this.last !== null;
    const length = atEnd ? (this.last.page - this.dropped.length) * PAGE + this.last.size : known * PAGE;
    const missing = [...this.missing].sort();
    this.state.value = { length, ended: atEnd, failure, missing, changes: this.state.value.changes + 1 };
  }
}

/** A text that sorts after all names below this letter, and before those that begin with it. */
function previous(letter) {
  const before = String.fromCharCode(letter.charCodeAt(0) - 1);
  return letter === "a" ? "9~" : letter === "0" ? null : `${before}~`;
}
