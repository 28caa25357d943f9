// Who is signed in. The key stays in this tab, or on this device if its owner says so.
import { device, tab } from "./storage.mjs";
import { signal } from "./view.mjs";

const NAME = "populace.key";

export const key = signal(tab.recall(NAME) ?? device.recall(NAME));

/** The population that the key gives access to; null until the server has said so. */
export const population = signal(null);

/** Why nobody is signed in any more, if that was not their own wish. */
export const dismissed = signal("");

export function signIn(presented, told, remember) {
  (remember ? device : tab).keep(NAME, presented);
  dismissed.value = "";
  population.value = told;
  key.value = presented;
}

/** Forget the key here and on the device; who is signed in with the device's in another tab is signed out. */
export function signOut() {
  for (const storage of [tab, device]) storage.drop(NAME);
  leave("");
}

/** A key was refused: another one, with which somebody has signed in meanwhile, stays where it is kept. */
export function dismiss(refused, why) {
  for (const storage of [tab, device]) if (storage.recall(NAME) === refused) storage.drop(NAME);
  if (key.value === refused) leave(why);
}

function leave(why) {
  dismissed.value = why;
  population.value = null;
  key.value = null;
}

// Other tabs hear of what is done to the device's storage; without a name all of it was cleared.
addEventListener("storage", (event) => {
  const isGone = event.key === null || (event.key === NAME && event.newValue === null);
  if (isGone && key.value !== null && tab.recall(NAME) !== key.value)
    leave("You have signed out in another tab.");
});
