// The memory's picture: a tile for each layer of the base, and in it a square for each value of its state.
import { get, path, post } from "./api.mjs";
import { confirm } from "./dialogs.mjs";
import { Empty, Loaded, useLoaded } from "./loading.mjs";
import { attempt, say } from "./notices.mjs";
import { html, useEffect, useRef } from "./view.mjs";
import { bytes, decimal } from "./words.mjs";

/** A packed state: a header of 48 bytes with its shape, and float32 values, the least byte first. */
const HEADER = 48;
const SHAPE = 40;
const BELOW = [52, 110, 214];
const ABOVE = [214, 68, 62];

export default function Memory({ model, reload }) {
  const { id } = model;
  const memory = useLoaded(
    (signal) => get(path(id, "/memory?state=true"), { signal }),
    [id, model.memory_version],
  );
  const empty = async () => {
    const agreed = await confirm({
      title: `Empty the memory of ${id}?`,
      action: "Empty it",
      danger: true,
      text: "The log and the revisions stay, and the memory can be set back to any turn of the log.",
    });
    if (agreed && (await attempt(() => post(path(id, "/memory"), { position: null })))) {
      say("The memory is empty.");
      reload();
    }
  };
  return html`<section class="sheet narrow"><header><h2>Memory, as numbers</h2></header>
    <${Loaded} of=${memory}>${(told) =>
      told.state === null
        ? html`<${Nothing} module=${told.served_module} />`
        : html`<div class="stack"><${Picture} told=${told} />
      <p class="facts"><span>version <b>${told.version}</b></span><span><b>${bytes(told.bytes)}</b></span></p>
      <div class="row end"><button class="danger" onClick=${empty}>Empty the memory</button></div></div>`}
    </${Loaded}></section>`;
}

function Nothing({ module }) {
  return html`<${Empty} title="Nothing was written yet"><p>${
    module
      ? "The first turn that tells something begins it."
      : "This server has no memory module: people are known from their log and their revisions alone."
  }</p></${Empty}>`;
}

function Picture({ told }) {
  const state = unpacked(told.state);
  return html`<figure class="stack" aria-label=${`The memory of ${told.id}: ${state.layers} layers`}>
    <ol class="tiles-of-memory">${told.norms.map(
      (norm, layer) => html`<li key=${layer}><${Tile} state=${state} layer=${layer} />
      <span class="small quiet numbers">${layer}: ${decimal(norm, 2)}</span></li>`,
    )}</ol>
    <figcaption class="hint">A tile is a layer of the base with its norm, a square one of its values: blue
      below zero, red above, up to ${decimal(state.most, 2)}.</figcaption></figure>`;
}

function Tile({ state, layer }) {
  const canvas = useRef(null);
  const { states, rank, values, most } = state;
  const width = states * rank;
  useEffect(() => {
    const picture = new ImageData(width, rank);
    for (let row = 0; row < rank; row += 1) {
      for (let column = 0; column < width; column += 1) {
        const which = Math.floor(column / rank);
        const value = values[((layer * states + which) * rank + row) * rank + (column % rank)];
        const strength = most ? Math.round((255 * Math.abs(value)) / most) : 0;
        picture.data.set([...(value < 0 ? BELOW : ABOVE), strength], (row * width + column) * 4);
      }
    }
    canvas.current.getContext("2d").putImageData(picture, 0, 0);
  }, [state]);
  return html`<canvas ref=${canvas} width=${width} height=${rank} aria-hidden="true"></canvas>`;
}

function unpacked(base64) {
  const packed = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  const view = new DataView(packed.buffer);
  const [layers, states, rank] = [0, 2, 4].map((offset) => view.getUint16(SHAPE + offset, true));
  const values = new Float32Array(layers * states * rank * rank);
  let most = 0;
  for (let index = 0; index < values.length; index += 1) {
    values[index] = view.getFloat32(HEADER + 4 * index, true);
    most = Math.max(most, Math.abs(values[index]));
  }
  return { layers, states, rank, values, most };
}
