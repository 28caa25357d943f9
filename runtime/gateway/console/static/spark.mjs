// A small line of the newest values, without axes.
import { html } from "./view.mjs";

const WIDTH = 160;
const HEIGHT = 34;

export function Spark({ values, label }) {
  const most = Math.max(...values, 1e-9);
  const step = WIDTH / Math.max(1, values.length - 1);
  const points = values.map(
    (value, index) =>
      `${(index * step).toFixed(1)},${(HEIGHT - 2 - (value / most) * (HEIGHT - 4)).toFixed(1)}`,
  );
  return html`<svg class="spark" viewBox=${`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" role="img"
    aria-label=${label}>
    ${
      points.length > 1 &&
      html`<polyline points=${points.join(" ")} fill="none" stroke="var(--accent)"
      stroke-width="1.6" vector-effect="non-scaling-stroke" />`
    }
  </svg>`;
}
