// Two revisions compared layer by layer.
import { get, path } from "./api.mjs";
import { Loaded, useLoaded } from "./loading.mjs";
import { Bar, html } from "./view.mjs";
import { decimal } from "./words.mjs";

/** Two large adapters are read and decomposed for it. */
const COMPARING_MS = 60000;

export function Difference({ name, one, other }) {
  const query = new URLSearchParams({ one, other });
  const loaded = useLoaded((signal) => get(path(name, `/diff?${query}`), { signal }), [name, one, other], {
    limitMs: COMPARING_MS,
  });
  return html`<${Loaded} of=${loaded}>${({ data }) => {
    const most = Math.max(...data.map((layer) => layer.distance), 1e-12);
    if (!data.length) return html`<p class="hint">Neither changes the base.</p>`;
    return html`<div class="scrolls difference" tabindex="0" role="region" aria-label="Layers"><table>
      <thead><tr><th scope="col">layer</th><th scope="col">distance</th>
        <th scope="col" class="number">this</th><th scope="col" class="number">other</th>
        <th scope="col" class="number">angle</th></tr></thead>
      <tbody>${data.map(
        (layer) => html`<tr key=${layer.module}>
        <td class="small">${shorter(layer.module)}</td>
        <td><${Bar} share=${layer.distance / most} label=${`distance ${decimal(layer.distance)}`} /></td>
        <td class="number">${decimal(layer.norm, 2)}</td>
          <td class="number quiet">${decimal(layer.other_norm, 2)}</td>
        <td class="number">${layer.angles.length ? `${Math.round(layer.angles[0])}°` : "–"}</td>
          </tr>`,
      )}</tbody></table></div>`;
  }}</${Loaded}>`;
}

/** A layer's name without what all of them begin with. */
const shorter = (module) =>
  module.replace(/^(base_model\.)?(model\.)*(layers\.)?/, "").replace(/\.(self_attn|mlp)\./, " ");
