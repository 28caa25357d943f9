// Light, dark, or as the device has it.
const NAME = "populace.theme";
const root = document.documentElement;

/** Take on what was chosen here before, if anything was. */
export function recallTheme() {
  const chosen = localStorage.getItem(NAME);
  if (chosen) root.dataset.theme = chosen;
}

export function switchTheme() {
  const device = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  const next = (root.dataset.theme ?? device) === "dark" ? "light" : "dark";
  root.dataset.theme = next;
  localStorage.setItem(NAME, next);
}
