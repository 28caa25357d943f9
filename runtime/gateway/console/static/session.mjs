// Who is signed in. The key stays in this tab, or on this device if its owner says so.
import { signal } from "./view.mjs";

const NAME = "populace.key";

export const key = signal(sessionStorage.getItem(NAME) ?? localStorage.getItem(NAME));

/** The population that the key gives access to; null until the server has said so. */
export const population = signal(null);

/** Why nobody is signed in any more, if that was not their own wish. */
export const dismissed = signal("");

export function signIn(presented, told, remember) {
  (remember ? localStorage : sessionStorage).setItem(NAME, presented);
  dismissed.value = "";
  population.value = told;
  key.value = presented;
}

export function signOut(why = "") {
  sessionStorage.removeItem(NAME);
  localStorage.removeItem(NAME);
  dismissed.value = why;
  population.value = null;
  key.value = null;
}
