// Light, dark, or as the device has it.
import { device } from "./storage.mjs";

const NAME = "populace.theme";
const root = document.documentElement;

/** Take on what was chosen here before, if anything was. */
export function recallTheme() {
  const chosen = device.recall(NAME);
  if (chosen) root.dataset.theme = chosen;
}

export function switchTheme() {
  const usual = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  const next = (root.dataset.theme ?? usual) === "dark" ? "light" : "dark";
  root.dataset.theme = next;
  device.keep(NAME, next);
}
