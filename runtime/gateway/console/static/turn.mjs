// One turn of a conversation: what was said, how it was made, and what one thinks of it.
import { post } from "./api.mjs";
import { forget } from "./forgetting.mjs";
import { Form } from "./forms.mjs";
import { attempt, say } from "./notices.mjs";
import { Icon, html, useState } from "./view.mjs";
import { moment, short } from "./words.mjs";

/** The roles of what is in the log for the memory's sake, and that nobody said. */
const NOTES = new Set(["memory", "forget", "forgotten", "conversation"]);

/** A person's or a model's own words: as they are, in the direction that they are written in. */
export function Words({ text }) {
  return html`<p class="whole-text" dir="auto">${text}</p>`;
}

export function Turn({ turn, name, opinion = {}, onOpinion, onForgotten }) {
  const [correcting, setCorrecting] = useState(false);
  if (turn.forgotten)
    return html`<article
    class="turn gone quiet small">Turn ${turn.position} was forgotten.</article>`;
  if (NOTES.has(turn.messages[0]?.role)) return null;
  const asked =
    [...turn.messages].reverse().find((message) => message.role === "user") ?? turn.messages.at(-1);
  const judge = async (given) => {
    // Without an Idempotency-Key the server keeps the same opinion once, also if it is given anew.
    await post("/v1/feedback", { model: name, position: turn.position, ...given });
    onOpinion(given);
  };
  const hasReply = turn.finish_reason !== null;
  const close = () => setCorrecting(false);
  const correct = async (fields) => {
    await judge({ correction: fields.get("words") });
    close();
    say("The next training learns this.");
  };
  const forgetIt = async () => {
    const gone = await forget(name, [turn.position]);
    if (gone) onForgotten(gone);
  };
  const thumb = (which, label) => html`<button class="plain" aria-label=${label} title=${label}
    aria-pressed=${opinion.thumb === which ? "true" : "false"}
    onClick=${() => attempt(() => judge({ thumb: which }), `thumb ${name} ${turn.position}`)}>
      <${Icon} name=${which} /></button>`;
  return html`<article class="turn">
    ${asked && html`<div class="mine"><${Words} text=${asked.content} /></div>`}
    <div class="theirs">${
      hasReply
        ? html`<${Words} text=${turn.reply || "(nothing)"} />`
        : html`<span class="small quiet">No reply</span>`
    }
      ${
        opinion.correction &&
        html`<div class="corrected"><span class="small quiet">should have been</span>
        <${Words} text=${opinion.correction} /></div>`
      }
    </div>
    ${
      turn.position === null
        ? html`<p class="under small quiet">no trace of this turn is kept</p>`
        : html`<div class="under row">
        ${
          hasReply &&
          html`${thumb("up", "A good reply")}${thumb("down", "A bad reply")}
        <button class="plain" onClick=${() => setCorrecting(!correcting)}
          aria-expanded=${correcting ? "true" : "false"}>Correct</button>`
        }
        <button class="plain danger" onClick=${forgetIt}>Forget</button>
        <${MadeWith} turn=${turn} />
      </div>`
    }
    ${
      correcting &&
      html`<${Correction} reply=${opinion.correction ?? turn.reply} close=${close} correct=${correct} />`
    }
  </article>`;
}

/** The revision, memory and turns that a reply was made with. */
function MadeWith({ turn }) {
  const parts = [`turn ${turn.position}`, short(turn.revision)];
  if (turn.retrieved?.length) parts.push(`read turn ${turn.retrieved.join(", ")}`);
  if (turn.memory?.read) parts.push("memory read");
  if (turn.finish_reason === "length") parts.push("cut off");
  return html`<span class="made small quiet numbers" title=${moment(turn.created)}>
    ${parts.join(" · ")}</span>`;
}

function Correction({ reply, correct, close }) {
  return html`<${Form} class="correction stack" send=${correct} cancel=${close}>
    <label>What the reply should have been
      <textarea name="words" required rows="3" dir="auto" defaultValue=${reply} /></label>
    <div class="row end"><span class="hint wide">Ctrl and Enter keeps it, Escape cancels</span>
      <button type="button" onClick=${close}>Cancel</button>
      <button class="main">Keep this</button></div>
  </${Form}>`;
}
