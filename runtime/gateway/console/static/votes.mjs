// Asking the population: the answer as it forms, vote by vote.
import { events } from "./api.mjs";
import { Problem } from "./loading.mjs";
import { Words } from "./turn.mjs";
import { Bar, html, useEffect, useRef, useState } from "./view.mjs";
import { count, lasting, percent } from "./words.mjs";

const KINDS = { "": "a choice or a text", number: "a number", words: "a few words", text: "a text" };
const SELECT = {
  diverse: "good and different",
  information: "most informative",
  best: "the best",
  random: "at random",
};
/** With fewer answers than this none is told: policies/diversity/disclosure.py. */
const TOLD_FROM = 3;
const TONE = { voted: "good", waiting: "", asking: "" };

export function Ask({ members }) {
  const [state, setState] = useState({ answer: null, failure: null, busy: false });
  const abort = useRef(null);
  useEffect(() => () => abort.current?.abort(), []);
  const ask = async (event) => {
    event?.preventDefault();
    const form = new FormData(event.target);
    const choices = form
      .get("choices")
      .split(",")
      .map((choice) => choice.trim())
      .filter(Boolean);
    const body = {
      question: form.get("question"),
      k: Number(form.get("k")),
      select: form.get("select"),
      stream: true,
    };
    if (choices.length) body.choices = choices;
    else if (form.get("kind")) body.kind = form.get("kind");
    abort.current = new AbortController();
    setState({ answer: null, failure: null, busy: true });
    let answer = null;
    try {
      for await (answer of events("/v1/population/answers", body, { signal: abort.current.signal }))
        setState({ answer, failure: null, busy: true });
      setState({ answer, failure: null, busy: false });
    } catch (failure) {
      if (failure.name !== "AbortError" && failure.advice === undefined) throw failure;
      setState({ answer, failure: failure.name === "AbortError" ? null : failure, busy: false });
    }
  };
  return html`<section class="sheet stack">
    <form class="stack" onSubmit=${ask}>
      <label>Ask them all<textarea name="question" rows="2" required dir="auto"
        placeholder="Which one is in Italy?"></textarea></label>
      <div class="fields">
        <label>Choices<input name="choices" placeholder="Paris, Rome, Oslo" dir="auto" /></label>
        <label>The answer is<select name="kind">
          ${Object.entries(KINDS).map(
            ([id, title]) => html`<option key=${id} value=${id}>
          ${title}</option>`,
          )}</select></label>
        <label>How many<input name="k" type="number" min="1" max="256" required
          defaultValue=${Math.min(8, members.length)} /></label>
        <label>Who<select name="select">
          ${Object.entries(SELECT).map(
            ([id, title]) => html`<option key=${id} value=${id}>
          ${title}</option>`,
          )}</select></label>
      </div>
      ${
        members.length < TOLD_FROM &&
        html`<p class="quiet small">Votes are told when ${TOLD_FROM} members or more answer, and
          ${count(members.length, "member")} ${members.length === 1 ? "takes" : "take"} part.</p>`
      }
      <div class="row end">${
        state.busy
          ? html`<button type="button" onClick=${() => abort.current.abort()}>Stop</button>`
          : html`<button class="main">Ask</button>`
      }</div>
    </form>
    ${state.failure && html`<${Problem} failure=${state.failure} />`}
    ${
      state.busy &&
      !state.answer &&
      html`<div class="bar moving" role="status"
      aria-label="The members are being asked"><i /></div>`
    }
    ${state.answer && html`<${Answer} answer=${state.answer} busy=${state.busy} />`}
  </section>`;
}

function Answer({ answer, busy }) {
  const { measures } = answer;
  return html`<div class="stack answer" aria-live="polite" aria-busy=${busy ? "true" : "false"}>
    <div class="said">${
      answer.answer === null
        ? html`<p class="quiet">
      ${answer.reason || "No answer yet"}</p>`
        : html`<${Words} text=${answer.answer} />`
    }
      ${answer.tie && html`<span class="chip warm">a tie</span>`}</div>
    <ol class="shares">${answer.shares.map(
      (share) => html`<li key=${share.answer ?? " "}>
      <span dir="auto">${share.answer ?? "not told"}</span>
      <${Bar} share=${share.share} label=${percent(share.share)} />
        <span class="numbers small">${percent(share.share)}</span></li>`,
    )}</ol>
    <p class="facts"><span><b>${measures.voted}</b> of <b>${answer.votes.length}</b> voted</span>
      <span>agreement <b>${percent(measures.agreement)}</b></span>
      <span>pairs that disagree <b>${percent(measures.disagreement)}</b></span></p>
    <ul class="votes" aria-label=${count(answer.votes.length, "member")}>
      ${answer.votes.map(
        (vote) => html`<li key=${vote.model} class=${`chip ${TONE[vote.state] ?? "warm"}`}
      title=${vote.reason}>
      ${vote.model}${told(vote)}${vote.seconds ? ` · ${lasting(vote.seconds)}` : ""}</li>`,
      )}</ul>
  </div>`;
}

/** A member's vote, if it is told, or what became of it. */
function told(vote) {
  if (vote.answer !== null) return `: ${vote.answer}`;
  return vote.state === "voted" ? "" : ` ${vote.state}`;
}
