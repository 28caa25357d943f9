// A turn of the log and what was said around it, to which facts and replies that were told from it lead.
import { get, path } from "./api.mjs";
import { Empty, Loaded, useLoaded } from "./loading.mjs";
import { at, place } from "./places.mjs";
import { withOpinions } from "./talk.mjs";
import { Turn } from "./turn.mjs";
import { html, useState } from "./view.mjs";

const BEFORE = 2;
const SHOWN = 5;

export default function Source({ model, reload }) {
  const position = Number(place.value[3]);
  const isOne = Number.isSafeInteger(position) && position >= 0;
  const start = Math.max(0, position - BEFORE);
  const [given, setGiven] = useState(new Map());
  const loaded = useLoaded(
    async (signal) => {
      const of = (what) => get(path(model.id, `/${what}?start=${start}&limit=${SHOWN}`), { signal });
      if (!isOne) return [];
      const [log, feedback] = await Promise.all([of("interactions"), of("feedback")]);
      setGiven(withOpinions(new Map(), feedback.data));
      return log.data;
    },
    [model.id, position],
  );
  const judged = (one, opinion) => setGiven(new Map(given).set(one, { ...given.get(one), ...opinion }));
  const forgotten = () => {
    loaded.reload();
    reload();
  };
  return html`<${Loaded} of=${loaded}>${(turns) => {
    const found = turns.find((turn) => turn.position === position);
    if (!found)
      return html`<${Empty} title="The log has no such turn">
        <p>Old turns make room for new ones.</p></${Empty}>`;
    const whole = found.conversation === null ? ["single"] : ["in", found.conversation];
    return html`<div class="stack source">
      ${turns
        .filter((turn) => turn.conversation === found.conversation)
        .map(
          (turn) => html`<div key=${turn.position} class=${turn === found ? "sheet" : "beside"}>
        <${Turn} turn=${turn} name=${model.id} opinion=${given.get(turn.position)}
          onOpinion=${(opinion) => judged(turn.position, opinion)} onForgotten=${forgotten} /></div>`,
        )}
      <p><a href=${at("people", model.id, "chat", ...whole)}>To the conversation</a></p></div>`;
  }}</${Loaded}>`;
}
