// Signing in.
import { get } from "./api.mjs";
import { attempt } from "./notices.mjs";
import { dismissed, population, signIn } from "./session.mjs";
import { Coded, html, useState } from "./view.mjs";

/** Ask what the session's key gives access to; an unknown key ends the session. */
export async function welcome() {
  const told = await attempt(() => get("/v1/population"));
  if (told) population.value = told;
}

/** What a header can carry; a browser refuses to send anything else. */
const KEY = /^[\x21-\x7e]+$/;
const NO_KEY = {
  message: "This is no API key: it has a letter or a space that no key has.",
  advice: "Copy the key once more, from `populace_` to its end.",
};

export function Door() {
  const [failure, setFailure] = useState(null);
  const [busy, setBusy] = useState(false);
  const enter = async (event) => {
    event.preventDefault();
    const form = new FormData(event.target);
    const presented = form.get("key").trim();
    if (!KEY.test(presented)) {
      setFailure(NO_KEY);
      return;
    }
    setBusy(true);
    try {
      signIn(presented, await get("/v1/population", { as: presented }), form.get("remember") !== null);
    } catch (error) {
      if (error.advice === undefined) throw error;
      setFailure(error);
      setBusy(false);
    }
  };
  return html`<main class="door">
    <form class="sheet" onSubmit=${enter}>
      <img src=${new URL("icon.svg", import.meta.url).href} alt="" width="44" height="44" />
      <div><h1>Populace</h1>
        <p class="quiet">Sign in with the API key of your population.</p></div>
      ${dismissed.value && !failure && html`<p class="chip warm" role="alert">${dismissed.value}</p>`}
      <label>API key<input name="key" type="password" required autocomplete="current-password" autofocus
        placeholder="populace_…" aria-invalid=${failure ? "true" : undefined} aria-describedby="key-help" />
          </label>
      ${
        failure &&
        html`<p role="alert" class="wrong">
        <${Coded} text=${`${failure.message} ${failure.advice}`} /></p>`
      }
      <label class="check"><input type="checkbox" name="remember" /> Stay signed in on this device</label>
      <button class="main" disabled=${busy}>Sign in</button>
      <p class="hint" id="key-help">
        <code>populace serve</code> prints a key when it starts for the first time, and
        <code> populace key create</code> makes another. It stays in this browser.</p>
    </form>
  </main>`;
}
