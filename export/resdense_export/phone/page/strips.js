// The live plot: a strip a file with a dot a round, the range from p10 to p90 and the median, all on one axis.

import { make } from "./dom.js";
import { summary } from "./statistics.js";
import { significant } from "./units.js";

const WIDTH = 1000; // units of a strip's drawing, stretched to the width of the page
const HEIGHT = 30;
const DOTS = 80;

/** A logarithmic axis over all times: {place(ms), ticks}. */
export function axis(rows) {
  const times = rows.flatMap((row) => row.times).filter((time) => time > 0); // a very coarse clock can give 0
  if (!times.length) return null;
  let low = Math.log10(Math.min(...times));
  let high = Math.log10(Math.max(...times));
  const room = Math.max(0.15, 0.08 * (high - low));
  [low, high] = [low - room, high + room];
  const ticks = [];
  for (let power = Math.floor(low); power <= high; power++) {
    for (const step of high - low > 2 ? [1] : [1, 2, 5]) {
      const value = step * 10 ** power;
      if (Math.log10(value) >= low && Math.log10(value) <= high) ticks.push(value);
    }
  }
  return { place: (ms) => (WIDTH * (Math.log10(ms) - low)) / (high - low), ticks };
}

/** Draws a file's strip anew. */
export function drawStrip(svg, times, scale) {
  svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
  svg.setAttribute("preserveAspectRatio", "none");
  const grid = scale.ticks.map((tick) => line(scale.place(tick), 0, scale.place(tick), HEIGHT));
  const { median_ms, p10_ms, p90_ms } = summary(times);
  const dots = times
    .slice(-DOTS)
    .filter((time) => time > 0)
    .map((time, i) =>
      make("rect", { x: scale.place(time) - 1.5, y: 4 + ((i * 7) % 22), width: 3, height: 3, class: "dot" }),
    );
  svg.replaceChildren(
    ...grid,
    line(scale.place(p10_ms), HEIGHT / 2, scale.place(p90_ms), HEIGHT / 2, "span"),
    ...dots,
    line(scale.place(median_ms), 3, scale.place(median_ms), HEIGHT - 3, "middle"),
  );
}

/** The numbers under the strips. */
export function drawAxis(box, scale) {
  box.replaceChildren(
    ...scale.ticks.map((tick) => {
      const label = make("span", {}, `${significant(tick, 1)}`);
      label.style.left = `${(100 * scale.place(tick)) / WIDTH}%`;
      return label;
    }),
  );
}

function line(x1, y1, x2, y2, kind = "") {
  return make("line", { x1, y1, x2, y2, class: kind, "vector-effect": "non-scaling-stroke" });
}
