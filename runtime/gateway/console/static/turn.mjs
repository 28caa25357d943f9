// One turn of a conversation: what was said, how it was made, and what one thinks of it.
import { post } from "./api.mjs";
import { Copy } from "./copy.mjs";
import { forget } from "./forgetting.mjs";
import { Form } from "./forms.mjs";
import { Markdown } from "./markdown.mjs";
import { attempt, say } from "./notices.mjs";
import { at } from "./places.mjs";
import { asked, isNote, keyOf } from "./talk.mjs";
import { Icon, html, useRef, useState } from "./view.mjs";
import { moment, short } from "./words.mjs";

/** A person's own words: as they are, in the direction that they are written in. */
export function Words({ text }) {
  return html`<p class="whole-text" dir="auto">${text}</p>`;
}

/** `onAgain` and `onEdit` have the reply made anew, with the same message or another one, if they may. */
export function Turn({ turn, name, opinion = {}, busy = false, onAgain, onEdit, onOpinion, onForgotten }) {
  const [correcting, setCorrecting] = useState(false);
  if (turn.forgotten)
    return html`<article
    class="turn gone quiet small">Turn ${turn.position} was forgotten.</article>`;
  if (isNote(turn)) return null;
  const said = asked(turn);
  const hasReply = turn.finish_reason !== null;
  const judge = async (given) => {
    // Without an Idempotency-Key the server keeps the same opinion once, also if it is given anew.
    await post("/v1/feedback", { model: name, position: turn.position, ...given });
    onOpinion(given);
  };
  const close = () => setCorrecting(false);
  const correct = async (fields) => {
    await judge({ correction: fields.get("words") });
    close();
    say("It is said from the next turn on, and the next training learns it.");
  };
  const forgetIt = async () => {
    const gone = await forget(name, [turn.position]);
    if (gone) onForgotten(gone);
  };
  const thumb = (which, label) => html`<button class="plain" aria-label=${label} title=${label}
    aria-pressed=${opinion.thumb === which ? "true" : "false"}
    onClick=${() => attempt(() => judge({ thumb: which }), `thumb ${name} ${turn.position}`)}>
      <${Icon} name=${which} /></button>`;
  const again =
    onAgain &&
    html`<button class="plain" aria-label="Make the reply anew"
      title="Make the reply anew: this turn is forgotten" disabled=${busy}
      onClick=${() => onAgain(turn)}><${Icon} name="again" /></button>`;
  return html`<article class="turn">
    ${
      said &&
      html`<div class="own">${
        onEdit &&
        turn.position !== null &&
        html`<button class="plain" aria-label="Edit and send again" title="Edit and send again"
        disabled=${busy} onClick=${() => onEdit(turn)}><${Icon} name="pencil" /></button>`
      }<div class="mine"><${Words} text=${said.content} /></div></div>`
    }
    <div class="theirs">${
      hasReply
        ? html`<${Markdown} text=${turn.reply || "(nothing)"} />`
        : html`<p class="quiet small">No reply was made.</p>`
    }
      ${
        opinion.correction &&
        html`<div class="corrected"><span class="small quiet">should have been</span>
        <${Words} text=${opinion.correction} /></div>`
      }
    </div>
    ${
      turn.position === null
        ? html`<div class="under row"><${Copy} text=${turn.reply} />${again}
          <span class="made small quiet">no trace of this turn is kept</span></div>`
        : html`<div class="under row">
        ${
          hasReply &&
          html`${thumb("up", "A good reply")}${thumb("down", "A bad reply")}<${Copy} text=${turn.reply} />`
        }${again}
        ${
          hasReply &&
          html`<button class="plain" onClick=${() => setCorrecting(!correcting)}
          aria-expanded=${correcting ? "true" : "false"}>Correct</button>`
        }
        <button class="plain danger" onClick=${forgetIt}>Forget</button>
        <${MadeWith} turn=${turn} name=${name} />
      </div>`
    }
    ${
      correcting &&
      html`<${Correction} reply=${turn.reply} former=${opinion.correction} close=${close}
        correct=${correct} />`
    }
  </article>`;
}

/** The turn of the log, with a way to it. */
export const TurnLink = ({ name, position }) =>
  html`<a href=${at("people", name, "turn", String(position))}>turn ${position}</a>`;

/** The turns, revision and memory that a reply was made with, and where its time went. */
function MadeWith({ turn, name }) {
  const { retrieved = [], position } = turn;
  const request = keyOf(turn);
  return html`<span class="made small quiet numbers" title=${moment(turn.created)}>
    <${TurnLink} name=${name} position=${position} /> · ${short(turn.revision)}
    ${
      retrieved?.length > 0 &&
      html` · told from ${retrieved.map(
        (one, index) => html`${index > 0 && ", "}<${TurnLink} name=${name} position=${one} />`,
      )}`
    }
    ${turn.memory?.read && " · memory read"}${turn.finish_reason === "length" && " · cut off"}
    ${request && html` · <a href=${at("system", "requests", request)}>trace</a>`}</span>`;
}

/** What was replied is in sight above: the box is for what is to be said instead. */
function Correction({ reply, former, correct, close }) {
  const box = useRef(null);
  const start = () => {
    box.current.value = reply;
    box.current.focus();
  };
  return html`<${Form} class="correction stack" send=${correct} cancel=${close}>
    <label>What the reply should have been
      <textarea ref=${box} name="words" required rows="2" dir="auto" defaultValue=${former ?? ""} /></label>
    <div class="row end"><button type="button" class="plain" onClick=${start}>Begin with the reply</button>
      <span class="grow"></span><button type="button" onClick=${close}>Cancel</button>
      <button class="main">Keep this</button></div>
  </${Form}>`;
}
