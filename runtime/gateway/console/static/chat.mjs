// Talking with a person's model: replies as they are made, what was said before, and what one thinks of it.
import { onReturn } from "./api.mjs";
import { Composer } from "./composer.mjs";
import { Conversations } from "./conversations.mjs";
import { Empty, Problem } from "./loading.mjs";
import { Markdown } from "./markdown.mjs";
import { attempted, tell } from "./notices.mjs";
import { at, go, place } from "./places.mjs";
import { asked, isNote, keyOf, talkWith } from "./talk.mjs";
import { Turn, Words } from "./turn.mjs";
import { html, useEffect, useLayoutEffect, useMemo, useRef, useState } from "./view.mjs";

const NEAR = 120;

export default function Chat({ model, reload }) {
  const talk = useMemo(() => talkWith(model), []);
  const box = useRef(null);
  const [waiting, setWaiting] = useState(null);
  const [, , , how, named] = place.value;
  // Undefined until it is known which one was the last; null is of those who send all that was said before.
  const which = how === "in" && named ? named : how === "single" ? null : talk.home.value;
  useEffect(() => {
    talk.newer();
    if (talk.end > model.log_position) reload();
    const ends = [onReturn(() => talk.newer()), talk.made.subscribe(heard(reload))];
    return () => {
      for (const end of ends) end();
    };
  }, []);
  useEffect(() => {
    // Who comes back from another page goes on here.
    if (how) talk.home.value = which;
  }, [which]);
  const editing = talk.editing.value?.conversation === which ? talk.editing.value : null;
  const send = (message) => talk.send(message).catch(tell);
  useEffect(() => {
    // What is sent before the log was read waits for the conversation that it belongs to.
    if (waiting === null || which === undefined) return;
    setWaiting(null);
    said(waiting);
  }, [waiting, which]);
  /** Send a message in the place of turns; if these were not forgotten, it is a draft again. */
  const anew = async (turns, message) => {
    const failure = await attempted(() => talk.replace(turns, message));
    if (!failure) return;
    tell(failure);
    talk.draft.value ||= message.text;
  };
  const said = (text) => {
    const message = { text, conversation: which, peeks: talk.peeks.value, revision: talk.revision.value };
    talk.editing.value = null;
    if (editing) {
      anew(editing.turns, message);
      return;
    }
    // Other programs send all that was said before, so there is nothing to go on with.
    if (which === null) {
      message.conversation = talk.begun();
      go("people", model.id, "chat", "in", message.conversation);
    }
    send(message);
  };
  return html`<div class="talk-page">
    <${Conversations} talk=${talk} which=${which} />
    <div class="talk">
      <${Feed} talk=${talk} model=${model} which=${which} box=${box} send=${send} anew=${anew} />
      <${Composer} talk=${talk} box=${box} model=${model} editing=${editing} onSend=${setWaiting} />
    </div></div>`;
}

function Feed({ talk, model, which, box, send, anew }) {
  const feed = useRef(null);
  const held = useRef(null);
  // Of a turn that was forgotten the log does not say which conversation it was of.
  const inside = (one) => (one.conversation ?? null) === which && !(one.forgotten && which === null);
  const running = talk.running.value;
  const unsent = talk.unsent.value.filter(inside);
  const pending = new Set([...unsent, ...(running ? [running] : [])].map((message) => message.key));
  const turns = talk.turns.value.filter((turn) => inside(turn) && !pending.has(keyOf(turn)));
  const shown = running && inside(running) ? running : null;
  const newest = turns.findLast((turn) => !turn.forgotten && !isNote(turn));
  useLayoutEffect(() => {
    if (held.current === null) feed.current.scrollTop = feed.current.scrollHeight;
    else feed.current.scrollTop = feed.current.scrollHeight - held.current;
    held.current = null;
  }, [turns.length, shown?.key, unsent.length, talk.loaded.value, which]);
  const more = async () => {
    held.current = feed.current.scrollHeight - feed.current.scrollTop;
    await talk.back(() => talk.turns.value.filter(inside).length);
  };
  const isLoaded = talk.loaded.value && which !== undefined;
  const isEmpty = isLoaded && !turns.length && !shown && !unsent.length;
  const hasEarlier = isLoaded && talk.earliest.value > talk.oldest;
  useEffect(() => {
    // One that one has a link to may be further back in the log.
    if (isEmpty && hasEarlier && !talk.isNew(which)) more();
  }, [which, isLoaded]);
  const edit = (message) => {
    talk.edit(message);
    box.current.focus();
  };
  const change = (turn) => {
    talk.editing.value = { turns: talk.from(turn), conversation: which };
    talk.draft.value = asked(turn).content;
    box.current.focus();
  };
  const again = (turn) =>
    anew([turn], {
      text: asked(turn).content,
      conversation: which,
      peeks: talk.peeks.value || turn.position === null,
      revision: talk.revision.value,
    });
  const dropped = (positions) => {
    talk.drop(positions);
    // The buttons of the turn are gone.
    feed.current.focus({ preventScroll: true });
  };
  return html`<div class="feed" ref=${feed} role="log" aria-label=${`Conversation with ${model.id}`}
    tabindex="0">
      ${talk.failure.value && html`<${Problem} failure=${talk.failure.value} again=${() => talk.newer()} />`}
      ${
        hasEarlier &&
        !talk.isNew(which) &&
        html`<div class="row centre">
        <button class="plain" onClick=${more}>Earlier turns</button></div>`
      }
      ${isEmpty && html`<${Welcome} name=${model.id} />`}
      ${turns.map(
        (turn) => html`<${Turn} key=${turn.position ?? turn.created} turn=${turn} name=${model.id}
        opinion=${talk.opinions.value.get(turn.position)} busy=${running !== null}
          onAgain=${turn === newest && which !== null ? again : null}
          onEdit=${which === null ? null : change}
          onOpinion=${(given) => talk.judge(turn.position, given)} onForgotten=${dropped} />`,
      )}
      ${unsent.map(
        (message) => html`<${Unsent} key=${message.key} message=${message} again=${running ? null : send}
        edit=${edit} dismiss=${() => talk.dismiss(message)} />`,
      )}
      ${shown && html`<${Running} key=${shown.key} message=${shown} feed=${feed} />`}
    </div>`;
}

/** What one can do here, before anything was said. */
function Welcome({ name }) {
  return html`<${Empty} title=${`Say something to ${name}`}>
    <p>What you tell is remembered from the next turn on, and what you correct is said from the next turn on.
      Each reply names the turns that it was told from.</p>
    <p>See <a href=${at("people", name, "knows")}>what it knows</a>, with the sentence that each fact comes
      from, to correct or forget. <b>Leave no trace</b> below asks without being remembered. All of
      it can be${" "}<a href=${at("people", name, "keeping")}>exported and erased</a>.</p></${Empty}>`;
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
    ${text && html`<div class="theirs"><${Markdown} text=${text} /></div>`}
    ${
      message.again.value
        ? html`<p class="small quiet" role="status">The connection broke. The reply is asked for again…</p>`
        : !text &&
          html`<div class="theirs thinking" role="status"
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
    ${text && html`<div class="theirs"><${Markdown} text=${text} /></div>`}
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
