// A live curve. Its library is loaded when there is something to draw.
import { html, useEffect, useRef } from "./view.mjs";

const HEIGHT = 210;
let library = null;

/** The library and its style sheet, loaded once. */
function plotting() {
  library ??= import("./vendor/uplot.mjs").then((module) => {
    const sheet = document.createElement("link");
    sheet.rel = "stylesheet";
    sheet.href = new URL("vendor/uplot.css", import.meta.url).href;
    document.head.append(sheet);
    return module.default;
  });
  return library;
}

/** Draw points [[x, y], …]; `words` tell whoever cannot see it what it shows. */
export function Curve({ points, label, words }) {
  const box = useRef(null);
  const drawn = useRef(null);
  const newest = useRef(points);
  newest.current = points;
  useEffect(() => {
    let wanted = true;
    const watch = new ResizeObserver(([entry]) =>
      drawn.current?.setSize({ width: entry.contentRect.width, height: HEIGHT }),
    );
    plotting().then((Plot) => {
      if (!wanted) return;
      drawn.current = new Plot(options(box.current, label), columns(newest.current), box.current);
      watch.observe(box.current);
    });
    return () => {
      wanted = false;
      watch.disconnect();
      drawn.current?.destroy();
    };
  }, []);
  useEffect(() => drawn.current?.setData(columns(points)), [points]);
  return html`<div class="curve" ref=${box} role="img" aria-label=${words} />`;
}

const columns = (points) => [points.map(([x]) => x), points.map(([, y]) => y)];

/** The colours are read when it is drawn, because a canvas knows no style sheet. */
function options(box, label) {
  const style = getComputedStyle(box);
  const ink = style.color;
  const axis = {
    stroke: ink,
    grid: { stroke: style.borderColor, width: 1 },
    ticks: { show: false },
    font: "12px sans-serif",
  };
  return {
    width: box.clientWidth,
    height: HEIGHT,
    legend: { show: false },
    cursor: { y: false, points: { size: 7 } },
    scales: { x: { time: false } },
    axes: [
      { ...axis, size: 30, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 5000] },
      { ...axis, size: 46 },
    ],
    series: [{}, { label, stroke: style.accentColor, width: 2, points: { show: false } }],
  };
}
