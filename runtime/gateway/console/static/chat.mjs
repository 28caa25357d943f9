// Talking with a person's model: replies as they are made, what was said before, and what one thinks of it.
import { events, get, path } from "./api.mjs";
import { Empty, Problem } from "./loading.mjs";
import { tell } from "./notices.mjs";
import { Turn, Words } from "./turn.mjs";
import { Icon, html, signal, useEffect, useLayoutEffect, useMemo, useRef } from "./view.mjs";

const TURNS = 30;
const NEAR = 120;
const CONVERSATION = "console";

/** What is on the page: the turns of the log, the one that is being made, and how far back one sees. */
class Talk {
  constructor(name, end, start) {
    this.name = name;
    this.oldest = start;
    this.end = end;
    this.turns = signal([]);
    this.opinions = signal(new Map());
    this.running = signal(null);
    this.failure = signal(null);
    this.loaded = signal(false);
    this.earliest = signal(end);
    this.abort = null;
    this.isLoading = false;
  }

  async earlier() {
    if (this.isLoading) return;
    this.isLoading = true;
    const end = this.earliest.value;
    const start = Math.max(this.oldest, end - TURNS);
    this.failure.value = null;
    try {
      const limit = Math.max(1, end - start);
      const [log, given] = await Promise.all([
        get(path(this.name, `/interactions?start=${start}&limit=${limit}`)),
        get(path(this.name, `/feedback?start=${start}&limit=1000`)),
      ]);
      this.turns.value = [...log.data.filter((turn) => turn.position < end), ...this.turns.value];
      const opinions = new Map(this.opinions.value);
      for (const one of given.data)
        opinions.set(one.position, { ...opinions.get(one.position), ...said(one) });
      this.opinions.value = opinions;
      this.earliest.value = start;
      this.loaded.value = true;
    } catch (error) {
      if (error.advice === undefined) throw error;
      this.failure.value = error;
    } finally {
      this.isLoading = false;
    }
  }

  /** Send a message; `key` names the turn, so that it is made once however often it is sent. */
  async send(text, peeks, key = crypto.randomUUID?.() ?? `console-${Date.now()}-${Math.random()}`) {
    const reply = signal("");
    this.running.value = { text, peeks, key, reply, state: "waiting", failure: null };
    this.abort = new AbortController();
    const body = {
      model: peeks ? `${this.name}:peek` : this.name,
      messages: [{ role: "user", content: text }],
      conversation: CONVERSATION,
      stream: true,
    };
    let last = null;
    try {
      for await (const part of events("/v1/chat/completions", body, {
        signal: this.abort.signal,
        headers: { "idempotency-key": key },
      })) {
        const [choice] = part.choices;
        if (choice?.delta.content) reply.value += choice.delta.content;
        if (part.populace) last = { ...part.populace, finish: choice?.finish_reason ?? "stop", id: part.id };
      }
      this.finish(text, reply.value, last, peeks);
    } catch (error) {
      if (error.name !== "AbortError" && error.advice === undefined) throw error;
      const state = error.name === "AbortError" ? "stopped" : "failed";
      this.running.value = { ...this.running.value, state, failure: state === "failed" ? error : null };
    }
  }

  finish(text, reply, made, peeks) {
    const turn = {
      position: made?.log_position ?? null,
      messages: [{ role: "user", content: text }],
      reply,
      revision: made?.revision ?? "base",
      retrieved: made?.retrieved ?? [],
      memory: made?.memory ?? null,
      finish_reason: made?.finish ?? "stop",
      created: Date.now() / 1000,
      forgotten: false,
      peeks,
    };
    this.running.value = null;
    this.turns.value = [
      ...this.turns.value.filter((other) => other.position === null || other.position !== turn.position),
      turn,
    ];
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

export default function Chat({ model, reload }) {
  const talk = useMemo(() => new Talk(model.id, model.log_position, model.log_start), []);
  const feed = useRef(null);
  const held = useRef(null);
  useEffect(() => {
    talk.earlier();
    return () => talk.abort?.abort();
  }, []);
  const turns = talk.turns.value;
  const running = talk.running.value;
  useLayoutEffect(() => {
    const box = feed.current;
    if (!box) return;
    if (held.current === null) box.scrollTop = box.scrollHeight;
    else box.scrollTop = box.scrollHeight - held.current;
    held.current = null;
  }, [turns.length, running?.key, running?.state, talk.loaded.value]);
  const back = () => {
    held.current = feed.current.scrollHeight - feed.current.scrollTop;
    talk.earlier();
  };
  const send = async (text, peeks, key) => {
    await talk.send(text, peeks, key);
    if (!talk.running.value) reload();
  };
  const isEmpty = talk.loaded.value && !turns.length && !running;
  return html`<div class="talk">
    <div class="feed" ref=${feed} role="log" aria-label=${`Conversation with ${model.id}`} tabindex="0">
      ${
        talk.failure.value &&
        html`<${Problem} failure=${talk.failure.value}
        again=${() => talk.earlier()} />`
      }
      ${
        talk.loaded.value &&
        talk.earliest.value > talk.oldest &&
        html`<div class="row centre">
        <button class="plain" onClick=${back}>Earlier turns</button></div>`
      }
      ${
        isEmpty &&
        html`<${Empty} title=${`Say something to ${model.id}`}>
        <p>What you tell is remembered from the next turn on. What you correct is learned by the next
          training.</p></${Empty}>`
      }
      ${turns.map(
        (turn) => html`<${Turn} key=${turn.position ?? turn.created} turn=${turn} name=${model.id}
        opinion=${talk.opinions.value.get(turn.position)}
          onOpinion=${(given) => talk.judge(turn.position, given)}
        onForgotten=${(positions) => talk.drop(positions)} />`,
      )}
      ${
        running &&
        html`<${Running} running=${running} feed=${feed}
        again=${() => send(running.text, running.peeks, running.key)}
        close=${() => {
          talk.running.value = null;
        }} />`
      }
    </div>
    <${Composer} busy=${running !== null && running.state === "waiting"}
      onSend=${(text, peeks) => send(text, peeks).catch(tell)}
      onStop=${() => talk.abort.abort()} name=${model.id} />
  </div>`;
}

/** The reply that is being made. Who reads further up is not pulled down by it. */
function Running({ running, feed, again, close }) {
  useEffect(
    () =>
      running.reply.subscribe(() => {
        const box = feed.current;
        if (box && box.scrollHeight - box.scrollTop - box.clientHeight < NEAR)
          requestAnimationFrame(() => {
            box.scrollTop = box.scrollHeight;
          });
      }),
    [running.reply],
  );
  const text = running.reply.value;
  return html`<article class="turn">
    <div class="mine"><${Words} text=${running.text} /></div>
    ${text && html`<div class="theirs"><${Words} text=${text} /></div>`}
    ${
      running.state === "waiting" &&
      !text &&
      html`<div class="theirs thinking" role="status"
      aria-label="The reply is being made"><i /><i /><i /></div>`
    }
    ${
      running.state === "stopped" &&
      html`<div class="row small quiet"
      role="status">Stopped: nothing of this turn is kept.
      <button class="plain" onClick=${again}>Send again</button>
        <button class="plain" onClick=${close}>Dismiss</button></div>`
    }
    ${running.failure && html`<${Problem} failure=${running.failure} again=${again} />`}
  </article>`;
}

function Composer({ busy, onSend, onStop, name }) {
  const box = useRef(null);
  const trace = useRef(null);
  const grow = () => {
    box.current.style.height = "auto";
    box.current.style.height = `${Math.min(box.current.scrollHeight + 2, 220)}px`;
  };
  const send = (event) => {
    event?.preventDefault();
    const text = box.current.value.trim();
    if (!text || busy) return;
    box.current.value = "";
    grow();
    onSend(text, trace.current.checked);
  };
  const keys = (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) send(event);
    if (event.key === "Escape" && busy) onStop();
  };
  return html`<form class="composer" onSubmit=${send}>
    <textarea ref=${box} rows="1" onInput=${grow} onKeyDown=${keys} aria-label=${`Message to ${name}`}
      dir="auto"
      placeholder=${`Message ${name}`} autofocus></textarea>
    <div class="row">
      <label class="check quiet"
        title="The reply reads what is remembered, and nothing of it is logged or remembered">
        <input type="checkbox" ref=${trace} /> Leave no trace</label>
      <span class="hint wide">Enter sends, Shift and Enter begins a line${busy ? ", Escape stops" : ""}</span>
      ${
        busy
          ? html`<button type="button" class="round" aria-label="Stop the reply" onClick=${onStop}>
          <${Icon} name="stop" /></button>`
          : html`<button class="main round" aria-label="Send"><${Icon} name="send" /></button>`
      }
    </div>
  </form>`;
}
