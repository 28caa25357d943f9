// Which page is shown: `#/people/ada/chat` and the like, so that going back works and links can be kept.
import { computed, html, signal } from "./view.mjs";

const address = signal(location.hash);
addEventListener("hashchange", () => {
  address.value = location.hash;
});

/** The parts of the place, such as ["people", "ada", "chat"]. */
export const place = computed(() => address.value.replace(/^#\/?/, "").split("/").filter(Boolean).map(plain));

export const at = (...parts) => `#/${parts.map(encodeURIComponent).join("/")}`;

export function go(...parts) {
  location.hash = at(...parts);
}

/** A way to what was logged of a request or a training, if it has an id. */
export const RequestLink = ({ id, what = "Request" }) =>
  id &&
  html`<p class="small quiet">${what} <a href=${at("system", "requests", id)}>
    <code>${id}</code></a></p>`;

function plain(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
