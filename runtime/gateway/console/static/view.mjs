// What every page draws with: templates, signals, and the icons. All text goes in as text nodes.
import { h, render } from "./vendor/preact.mjs";
import htm from "./vendor/htm.mjs";

export { render };
export { useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState } from "./vendor/hooks.mjs";
export { batch, computed, effect, signal, useComputed, useSignal, useSignalEffect } from "./vendor/signals.mjs";

export const html = htm.bind(h);

const ICONS = {
  people: "M8.5 11a3.5 3.5 0 1 0 0-7 3.5 3.5 0 0 0 0 7ZM2.5 19.5c.5-3.6 2.9-5.5 6-5.5s5.500 1.900 6 5.500M16 4.600a3.200 3.200 0 0 1 0 6.100M17.500 14.400c2.200.6 3.600 2.300 4 5.100",
  population: "M12 4v4M12 8l-6 5M12 8l6 5M12 8v11M6 13v3M18 13v3",
  system: "M3 17l4.500-6 4 3.500L16 7l5 6",
  sun: "M12 16.500a4.500 4.500 0 1 0 0-9 4.500 4.500 0 0 0 0 9ZM12 2v2.200M12 19.800V22M2 12h2.200M19.800 12H22M4.900 4.900l1.600 1.600M17.500 17.500l1.600 1.600M19.100 4.900l-1.600 1.600M6.500 17.500l-1.600 1.600",
  out: "M10 4H5v16h5M15 8l4 4-4 4M9 12h10",
  up: "M7 11v9H4v-9h3Zm0 0 4-7c1.600 0 2.500 1 2.500 2.500V10H19c1 0 1.700.9 1.500 1.900l-1.300 6.600c-.2.900-.9 1.500-1.800 1.500H7",
  down: "M7 13V4H4v9h3Zm0 0 4 7c1.600 0 2.500-1 2.500-2.500V14H19c1 0 1.700-.9 1.500-1.900l-1.300-6.600c-.2-.900-.9-1.500-1.800-1.500H7",
  send: "M12 19V5M6 11l6-6 6 6",
  stop: "M7 7h10v10H7z",
};

/** An icon beside or instead of words; whoever cannot see it is told by the words or the label. */
export function Icon({ name }) {
  return html`<svg viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="1.7"
    stroke-linecap="round" stroke-linejoin="round" aria-hidden="true"><path d=${ICONS[name]} /></svg>`;
}

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
