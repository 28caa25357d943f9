// Talking with a person's model: replies as they are made, what was said before, and what one thinks of it.
import { onReturn } from "./api.mjs";
import { Empty, Problem } from "./loading.mjs";
import { tell } from "./notices.mjs";
import { talkWith } from "./talk.mjs";
import { Turn, Words } from "./turn.mjs";
import { Icon, html, useEffect, useLayoutEffect, useMemo, useRef } from "./view.mjs";

const NEAR = 120;

export default function Chat({ model, reload }) {
  const talk = useMemo(() => talkWith(model), []);
  const feed = useRef(null);
  const box = useRef(null);
  const held = useRef(null);
  useEffect(() => {
    talk.newer();
    if (talk.end > model.log_position) reload();
    const ends = [onReturn(() => talk.newer()), talk.made.subscribe(heard(reload))];
    return () => {
      for (const end of ends) end();
    };
  }, []);
  const turns = talk.turns.value;
  const running = talk.running.value;
  const unsent = talk.unsent.value;
  const isUnsent = (turn) => unsent.some((message) => turn.operation === `key-${message.key}`);
  useLayoutEffect(() => {
    if (held.current === null) feed.current.scrollTop = feed.current.scrollHeight;
    else feed.current.scrollTop = feed.current.scrollHeight - held.current;
    held.current = null;
  }, [turns.length, running?.key, unsent.length, talk.loaded.value]);
  const back = () => {
    held.current = feed.current.scrollHeight - feed.current.scrollTop;
    talk.earlier();
  };
  const send = (message) => talk.send(message).catch(tell);
  const edit = (message) => {
    talk.edit(message);
    box.current.focus();
  };
  const dropped = (positions) => {
    talk.drop(positions);
    // The buttons of the turn are gone.
    feed.current.focus({ preventScroll: true });
  };
  const isEmpty = talk.loaded.value && !turns.length && !running && !unsent.length;
  return html`<div class="talk">
    <div class="feed" ref=${feed} role="log" aria-label=${`Conversation with ${model.id}`} tabindex="0">
      ${talk.failure.value && html`<${Problem} failure=${talk.failure.value} again=${() => talk.newer()} />`}
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
      ${turns.filter((turn) => !isUnsent(turn)).map(
        (turn) => html`<${Turn} key=${turn.position ?? turn.created} turn=${turn} name=${model.id}
        opinion=${talk.opinions.value.get(turn.position)}
          onOpinion=${(given) => talk.judge(turn.position, given)} onForgotten=${dropped} />`,
      )}
      ${unsent.map(
        (message) => html`<${Unsent} key=${message.key} message=${message} again=${running ? null : send}
        edit=${edit} dismiss=${() => talk.dismiss(message)} />`,
      )}
      ${running && html`<${Running} key=${running.key} message=${running} feed=${feed} />`}
    </div>
    <${Composer} talk=${talk} box=${box} busy=${running !== null} onSend=${send} />
  </div>`;
}

/** What a signal calls when it changes, and not when it is begun to be watched. */
function heard(work) {
  let isFirst = true;
  return () => {
    if (!isFirst) work();
    isFirst = false;
  };
}

/** The reply that is being made. Who reads further up is not pulled down by it. */
function Running({ message, feed }) {
  useEffect(
    () =>
      message.reply.subscribe(() => {
        const box = feed.current;
        if (box && box.scrollHeight - box.scrollTop - box.clientHeight < NEAR)
          requestAnimationFrame(() => {
            box.scrollTop = box.scrollHeight;
          });
      }),
    [message.reply],
  );
  const text = message.reply.value;
  return html`<article class="turn">
    <div class="mine"><${Words} text=${message.text} /></div>
    ${
      text
        ? html`<div class="theirs"><${Words} text=${text} /></div>`
        : html`<div class="theirs thinking" role="status"
      aria-label="The reply is being made"><i /><i /><i /></div>`
    }
  </article>`;
}

/** A message whose reply failed or was stopped. */
function Unsent({ message, again, edit, dismiss }) {
  const buttons = html`<button type="button" onClick=${() => edit(message)}>Edit</button>
    <button type="button" onClick=${dismiss}>Dismiss</button>`;
  const retry = again && (() => again(message));
  const text = message.reply.value;
  return html`<article class="turn">
    <div class="mine"><${Words} text=${message.text} /></div>
    ${text && html`<div class="theirs"><${Words} text=${text} /></div>`}
    ${
      message.failure
        ? html`<${Problem} failure=${message.failure} again=${retry}>${buttons}</${Problem}>`
        : html`<div class="row small quiet stopped" role="status">${
      message.peeks ? "Stopped." : "Stopped: what you said is kept, without a reply."
    }
      ${retry && html`<button type="button" onClick=${retry}>Send again</button>`}${buttons}</div>`
    }
  </article>`;
}

function Composer({ talk, box, busy, onSend }) {
  const draft = talk.draft.value;
  useLayoutEffect(() => {
    box.current.style.height = "auto";
    box.current.style.height = `${Math.min(box.current.scrollHeight + 2, 220)}px`;
  }, [draft]);
  useEffect(() => {
    // On a touch screen the focus would open a keyboard over half of the page.
    if (matchMedia("(pointer: fine)").matches) box.current.focus({ preventScroll: true });
  }, []);
  const send = (event) => {
    event.preventDefault();
    const text = talk.draft.value.trim();
    if (!text || busy) return;
    talk.draft.value = "";
    onSend({ text, peeks: talk.peeks.value });
  };
  const stop = () => talk.abort.abort();
  const keys = (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) send(event);
    if (event.key === "Escape" && busy) stop();
  };
  return html`<form class="composer" onSubmit=${send}>
    <textarea ref=${box} rows="1" value=${draft} onKeyDown=${keys} dir="auto"
      onInput=${(event) => {
        talk.draft.value = event.target.value;
      }}
      aria-label=${`Message to ${talk.name}`} placeholder=${`Message ${talk.name}`}></textarea>
    <div class="row">
      <label class="check quiet"
        title="The reply reads what is remembered, and nothing of it is logged or remembered">
        <input type="checkbox" checked=${talk.peeks.value} onChange=${(event) => {
          talk.peeks.value = event.target.checked;
        }} /> Leave no trace</label>
      <span class="hint wide">Enter sends, Shift and Enter begins a line${busy ? ", Escape stops" : ""}</span>
      ${
        busy
          ? html`<button type="button" class="round" aria-label="Stop the reply" onClick=${stop}>
          <${Icon} name="stop" /></button>`
          : html`<button class="main round" aria-label="Send"><${Icon} name="send" /></button>`
      }
    </div>
  </form>`;
}
