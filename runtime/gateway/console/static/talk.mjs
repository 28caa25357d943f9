// A conversation with a person's model. It goes on, and its draft stays, while another page is looked at.
import { events, get, path } from "./api.mjs";
import { newKey } from "./forms.mjs";
import { key } from "./session.mjs";
import { signal } from "./view.mjs";

const TURNS = 30;
const PAGE = 1000;
const KEPT = 20;
const CONVERSATION = "console";

const talks = new Map();

/** The talk with a model, from before if there was one; a new model of an erased one's name has its own. */
export function talkWith({ id, created, log_start: start, log_position: end }) {
  const which = `${id} ${created}`;
  const talk = talks.get(which) ?? new Talk(id, end, start);
  talks.delete(which);
  talks.set(which, talk);
  for (const [old, other] of talks) if (talks.size > KEPT && !other.isHeld) talks.delete(old);
  return talk;
}

// They are the population's whose key it is.
key.subscribe(() => {
  for (const talk of talks.values()) talk.abort?.abort();
  talks.clear();
});

/** The turns of the log, the message that is answered, those that were not, and how far back one sees. */
class Talk {
  constructor(name, end, start) {
    this.name = name;
    this.oldest = start;
    this.end = end;
    this.turns = signal([]);
    this.opinions = signal(new Map());
    this.running = signal(null);
    this.unsent = signal([]);
    this.failure = signal(null);
    this.loaded = signal(false);
    this.earliest = signal(end);
    this.made = signal(0);
    this.draft = signal("");
    this.peeks = signal(false);
    this.abort = null;
    this.isLoading = false;
  }

  /** Whether there is something here that the server does not have. */
  get isHeld() {
    return this.running.peek() !== null || this.unsent.peek().length > 0 || this.draft.peek() !== "";
  }

  /** Load the turns before those that are here. */
  earlier() {
    const end = this.earliest.value;
    const start = Math.max(this.oldest, end - TURNS);
    return this.load(async () => {
      await this.take(start, Math.max(1, end - start), end);
      this.earliest.value = start;
      this.loaded.value = true;
    });
  }

  /** Load what was said elsewhere since, up to the turn at `to`. */
  newer(to = Infinity) {
    if (!this.loaded.value) return this.earlier();
    return this.load(async () => {
      while (this.end < to) {
        const taken = await this.take(this.end, Math.min(PAGE, to - this.end), to);
        if (taken < PAGE) return;
      }
    });
  }

  async load(work) {
    if (this.isLoading) return;
    this.isLoading = true;
    this.failure.value = null;
    try {
      await work();
    } catch (error) {
      if (error.advice === undefined) throw error;
      this.failure.value = error;
    } finally {
      this.isLoading = false;
    }
  }

  /** Take turns before `end` from the log, and what was thought of them. Returns how many there were. */
  async take(start, limit, end) {
    const [log, given] = await Promise.all([
      get(path(this.name, `/interactions?start=${start}&limit=${limit}`)),
      get(path(this.name, `/feedback?start=${start}&limit=1000`)),
    ]);
    this.keep(log.data.filter((turn) => turn.position < end));
    const opinions = new Map(this.opinions.value);
    for (const one of given.data) opinions.set(one.position, { ...opinions.get(one.position), ...said(one) });
    this.opinions.value = opinions;
    return log.data.length;
  }

  /** Put turns where they belong; one that has no position stays behind what was before it. */
  keep(found) {
    const positions = new Set(found.map((turn) => turn.position));
    const turns = this.turns.value.filter((turn) => turn.position === null || !positions.has(turn.position));
    for (const turn of found) {
      const next = turns.findIndex((other) => other.position !== null && other.position > turn.position);
      turns.splice(next < 0 ? turns.length : next, 0, turn);
      this.end = Math.max(this.end, turn.position + 1);
    }
    this.turns.value = turns;
  }

  /** Send a message; its `key` names the turn, so that it is made once however often it is sent. */
  async send({ text, peeks, key: name = newKey() }) {
    const message = { text, peeks, key: name, reply: signal("") };
    this.dismiss(message);
    this.running.value = message;
    this.abort = new AbortController();
    const body = {
      model: peeks ? `${this.name}:peek` : this.name,
      messages: [{ role: "user", content: text }],
      conversation: CONVERSATION,
      stream: true,
    };
    let last = null;
    let failure = null;
    try {
      for await (const part of events("/v1/chat/completions", body, {
        signal: this.abort.signal,
        headers: { "idempotency-key": name },
      })) {
        const [choice] = part.choices;
        if (choice?.delta.content) message.reply.value += choice.delta.content;
        if (part.populace) last = { ...part.populace, finish: choice?.finish_reason ?? "stop", id: part.id };
      }
    } catch (error) {
      if (error.name !== "AbortError" && error.advice === undefined) throw error;
      failure = error;
    } finally {
      this.running.value = null;
    }
    if (failure) {
      const isStopped = failure.name === "AbortError";
      this.unsent.value = [...this.unsent.value, { ...message, failure: isStopped ? null : failure }];
    } else this.finish(message, last);
  }

  finish({ text, reply, peeks }, made) {
    const position = made?.log_position ?? null;
    const turn = {
      position,
      messages: [{ role: "user", content: text }],
      reply: reply.value,
      revision: made?.revision ?? "base",
      retrieved: made?.retrieved ?? [],
      memory: made?.memory ?? null,
      finish_reason: made?.finish ?? "stop",
      created: Date.now() / 1000,
      forgotten: false,
      peeks,
    };
    if (position === null) this.turns.value = [...this.turns.value, turn];
    else if (position <= this.end || !this.loaded.value) this.keep([turn]);
    // Turns before it were made elsewhere, such as in another console.
    else {
      this.turns.value = [...this.turns.value, turn];
      this.newer(position + 1);
    }
    this.made.value += 1;
  }

  /** Let a message go that was not answered. */
  dismiss(message) {
    this.unsent.value = this.unsent.value.filter((other) => other.key !== message.key);
  }

  /** Take a message that was not answered up again, before what is written by now. */
  edit(message) {
    this.dismiss(message);
    this.draft.value = [message.text, this.draft.value].filter(Boolean).join("\n");
    this.peeks.value = message.peeks;
  }

  judge(position, opinion) {
    this.opinions.value = new Map(this.opinions.value).set(position, {
      ...this.opinions.value.get(position),
      ...opinion,
    });
  }

  drop(positions) {
    this.turns.value = this.turns.value.map((turn) =>
      positions.includes(turn.position) ? { ...turn, forgotten: true } : turn,
    );
  }
}

/** What an opinion says, without what it does not. */
const said = ({ thumb, correction }) => ({ ...(thumb && { thumb }), ...(correction && { correction }) });
