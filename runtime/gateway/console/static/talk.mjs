// The talk with a person's model. It goes on, and its draft stays, while another page is looked at.
import { events, get, path, post, returned } from "./api.mjs";
import { newKey } from "./forms.mjs";
import { key } from "./session.mjs";
import { computed, signal } from "./view.mjs";

const TURNS = 30;
const PAGE = 1000;
const KEPT = 20;
/** Pages of the log that are looked through at once for more of a conversation, or for more of them. */
const PAGES_MAX = 20;
const TITLE = 120;
/** The conversation that the console begins with a person who has none. */
const FIRST = "console";
/** How often a message is sent again by itself if its reply breaks off, and how long it waits before that. */
const TRIES_MAX = 5;
const PAUSE_MS = 2000;
/** What the operation id of a turn begins with whose client named it. */
const KEYED = "key-";

/** The roles of what is in the log for the memory's sake, and that nobody said. */
const NOTES = new Set(["memory", "forget", "forgotten", "conversation"]);

export const isNote = (turn) => NOTES.has(turn.messages[0]?.role);

/** What a person said in a turn. */
export const asked = ({ messages }) =>
  messages.findLast((message) => message.role === "user") ?? messages.at(-1);

/** The key that a turn was sent with, and the id of its request if the console sent it; null without one. */
export const keyOf = ({ operation }) => (operation?.startsWith(KEYED) ? operation.slice(KEYED.length) : null);

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
    this.revision = signal("");
    this.editing = signal(null);
    /** The conversation that is shown if none is named; undefined until the log was read. */
    this.home = signal(undefined);
    this.fresh = new Set();
    this.conversations = computed(() => grouped(this.turns.value));
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
      if (!this.loaded.value) {
        // The conversation that one was in last.
        const newest = this.conversations.value[0];
        this.home.value = newest ? newest.name : FIRST;
      }
      this.loaded.value = true;
    });
  }

  /** Load earlier turns until `count()` has grown, none are left, or a good many were looked through. */
  async back(count) {
    const before = count();
    for (let page = 0; page < PAGES_MAX && this.earliest.value > this.oldest; page += 1) {
      await this.earlier();
      if (this.failure.value || count() > before) return;
    }
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
      if (this.home.value === undefined) this.home.value = FIRST;
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
    this.opinions.value = withOpinions(this.opinions.value, given.data);
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
    // What is in the log was sent, whatever became of its reply here.
    const keys = new Set(found.map(keyOf));
    this.unsent.value = this.unsent.value.filter((message) => !keys.has(message.key));
  }

  /**
   * Send a message; its `key` names the turn, so that it is made once however often it is sent.
   *
   * A reply that breaks off, as one does behind a proxy that ends long requests or on a phone that slept, is
   * asked for again, whole: the server goes on with it meanwhile.
   */
  async send({ key: name = newKey(), ...wanted }) {
    const message = { ...wanted, key: name, reply: signal(""), again: signal(false) };
    this.dismiss(message);
    this.running.value = message;
    this.abort = new AbortController();
    let made = null;
    let failure = null;
    try {
      for (let tries = 1; made === null; tries += 1) {
        try {
          made = await (tries === 1 ? this.streamed(message) : this.whole(message));
        } catch (error) {
          if (!brokeOff(error, tries) || leavesNoTrace(message) || tries === TRIES_MAX) throw error;
          message.again.value = true;
          await returned(PAUSE_MS, this.abort.signal);
        }
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
    } else this.finish(message, made);
  }

  /** What is sent for a message. Only a turn has a key, and its request is found by it. */
  request({ text, conversation, revision, peeks, key: name }, stream) {
    const isTurn = !leavesNoTrace({ revision, peeks });
    return {
      body: {
        model: `${this.name}${revision}${peeks ? ":peek" : ""}`,
        messages: [{ role: "user", content: text }],
        conversation,
        stream,
      },
      options: {
        signal: this.abort.signal,
        headers: { "x-request-id": name, ...(isTurn && { "idempotency-key": name }) },
      },
    };
  }

  /** Have a reply made as one looks on. Returns what it was made with. */
  async streamed(message) {
    const { body, options } = this.request(message, true);
    let made = {};
    for await (const part of events("/v1/chat/completions", body, options)) {
      const [choice] = part.choices;
      if (choice?.delta.content) message.reply.value += choice.delta.content;
      if (part.populace) made = { ...part.populace, finish: choice?.finish_reason ?? "stop" };
    }
    return made;
  }

  async whole(message) {
    const { body, options } = this.request(message, false);
    const { choices, populace } = await post("/v1/chat/completions", body, options);
    message.reply.value = choices[0].message.content ?? "";
    return { ...populace, finish: choices[0].finish_reason };
  }

  finish({ text, reply, key: name, conversation }, made) {
    const position = made.log_position ?? null;
    const turn = {
      position,
      operation: KEYED + name,
      conversation,
      messages: [{ role: "user", content: text }],
      reply: reply.value,
      revision: made.revision ?? "base",
      retrieved: made.retrieved ?? [],
      memory: made.memory ?? null,
      finish_reason: made.finish ?? "stop",
      created: Date.now() / 1000,
      forgotten: false,
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

  /**
   * Send a message in the place of turns, which are forgotten first. Throws Failure if they were not.
   *
   * For a message that leaves no trace nothing of the log is given up.
   */
  async replace(turns, message) {
    const positions = turns.map((turn) => turn.position).filter((position) => position !== null);
    if (positions.length && !leavesNoTrace(message)) {
      await post(path(this.name, "/forget"), { positions });
      this.drop(positions);
    }
    this.turns.value = this.turns.value.filter((turn) => turn.position !== null || !turns.includes(turn));
    return this.send(message);
  }

  /** The turn and what was said after it in its conversation. */
  from(turn) {
    const of = this.turns.value.filter(
      (other) => other.conversation === turn.conversation && !other.forgotten && !isNote(other),
    );
    return of.slice(of.indexOf(turn));
  }

  /** Begin a conversation. Returns its name, under which the log has no turns. */
  begun() {
    const name = `console-${Date.now().toString(36)}`;
    this.fresh.add(name);
    return name;
  }

  isNew(name) {
    return this.fresh.has(name);
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
    this.revision.value = message.revision;
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

/** Opinions by their turns' positions, with further ones of the log, the newest last. */
export function withOpinions(before, given) {
  const opinions = new Map(before);
  for (const one of given) opinions.set(one.position, { ...opinions.get(one.position), ...said(one) });
  return opinions;
}

/** What an opinion says, without what it does not. */
const said = ({ thumb, correction }) => ({ ...(thumb && { thumb }), ...(correction && { correction }) });

/** Whether a reply is in no log: by wish, or since no alias names the revision that is asked. */
export const leavesNoTrace = ({ peeks, revision }) =>
  peeks || revision === "@base" || /^@[0-9a-f]{6,64}$/.test(revision);

/** Whether the connection ended before the reply did, here or behind a proxy, or is still away since. */
const brokeOff = ({ code, status }, tries) =>
  code === "broken" || status === 502 || status === 504 || (tries > 1 && code === "unreachable");

/** The conversations of turns, the newest first, each with what was said first of what is here. */
function grouped(turns) {
  const found = new Map();
  for (const turn of turns) {
    if (isNote(turn) || turn.forgotten) continue;
    const { conversation: name = null, created } = turn;
    const before = found.get(name);
    found.delete(name);
    found.set(name, { name, title: before?.title ?? (asked(turn)?.content ?? "").slice(0, TITLE), created });
  }
  return [...found.values()].reverse();
}
