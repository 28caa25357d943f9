// What every page draws with: templates, signals, and the icons. All text goes in as text nodes.
import { h, render } from "./vendor/preact.mjs";
import htm from "./vendor/htm.mjs";

export { render };
export { useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState } from "./vendor/hooks.mjs";
export {
  batch,
  computed,
  effect,
  signal,
  useComputed,
  useSignal,
  useSignalEffect,
} from "./vendor/signals.mjs";

export const html = htm.bind(h);

const ICONS = {
  people:
    "M8.5 11a3.5 3.5 0 1 0 0-7 3.5 3.5 0 0 0 0 7ZM2.5 19.5c.5-3.6 2.9-5.5 6-5.5s5.5 1.9 6 5.5" +
    "M16 4.6a3.2 3.2 0 0 1 0 6.1M17.5 14.4c2.2.6 3.6 2.3 4 5.1",
  population: "M12 4v4M12 8l-6 5M12 8l6 5M12 8v11M6 13v3M18 13v3",
  system: "M3 17l4.5-6 4 3.5L16 7l5 6",
  sun:
    "M12 16.5a4.5 4.5 0 1 0 0-9 4.5 4.5 0 0 0 0 9ZM12 2v2.2M12 19.8V22M2 12h2.2M19.8 12H22" +
    "M4.9 4.9l1.6 1.6M17.5 17.5l1.6 1.6M19.1 4.9l-1.6 1.6M6.5 17.5l-1.6 1.6",
  out: "M10 4H5v16h5M15 8l4 4-4 4M9 12h10",
  up:
    "M7 11v9H4v-9h3Zm0 0 4-7c1.6 0 2.5 1 2.5 2.5V10H19c1 0 1.7.9 1.5 1.9l-1.3 6.6" +
    "c-.2.9-.9 1.5-1.8 1.5H7",
  down:
    "M7 13V4H4v9h3Zm0 0 4 7c1.6 0 2.5-1 2.5-2.5V14H19c1 0 1.7-.9 1.5-1.9l-1.3-6.6" +
    "c-.2-.9-.9-1.5-1.8-1.5H7",
  send: "M12 19V5M6 11l6-6 6 6",
  stop: "M7 7h10v10H7z",
  copy: "M9 9h11v11H9zM5 15H4V4h11v1",
  again: "M4 12a8 8 0 0 1 13.7-5.6L20 8.5M20 4v4.5h-4.5M20 12a8 8 0 0 1-13.7 5.6L4 15.5M4 20v-4.5h4.5",
  pencil: "M4 20l1-4.5L16 4.5l3.5 3.5L8.5 19 4 20ZM13.5 7l3.5 3.5",
  add: "M12 5v14M5 12h14",
};

/** An icon beside or instead of words; whoever cannot see it is told by the words or the label. */
export function Icon({ name }) {
  return html`<svg viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="1.7"
    stroke-linecap="round" stroke-linejoin="round" aria-hidden="true"><path d=${ICONS[name]} /></svg>`;
}

/** A text of the API's or of ours: what stands in `backticks` is code. */
export const Coded = ({ text }) =>
  text.split(/`([^`]+)`/).map((part, index) => (index % 2 ? html`<code>${part}</code>` : part));

/** A person's first letter on a colour that is always the same for the name. */
export function Face({ name, large }) {
  let hue = 7;
  for (const letter of name) hue = (hue * 31 + letter.codePointAt(0)) % 360;
  return html`<span class=${large ? "face large" : "face"} style=${{ "--hue": String(hue) }}
    aria-hidden="true">${[...name][0].toUpperCase()}</span>`;
}

/** A share of 1 as a bar, with its meaning in words for whoever cannot see it. */
export function Bar({ share, label }) {
  const kept = Math.max(0, Math.min(1, share || 0));
  return html`<div class="bar" role="img" aria-label=${label} style=${{ "--share": String(kept) }}>
    <i /></div>`;
}
