// Small pictures: the icon of a state, and the rate of the last ten minutes.

import { h } from "./dom.js";
import { size } from "./text.js";

const SHAPES = {
  good: "M4 8.4l2.7 2.7 5.3-5.6",
  failed: "M4.8 4.8l6.4 6.4m0-6.4l-6.4 6.4",
  attention: "M8 3.5v5.5M8 12.2v.1",
  running: "M8 12.5v-9M4.5 7L8 3.5 11.5 7",
  paused: "M5.8 4v8M10.2 4v8",
  idle: "M4.5 8h7",
};

/** Return the icon of a level. The word beside it says the same. */
export function icon(level) {
  return h("svg", { class: `icon ${level}`, viewBox: "0 0 16 16", "aria-hidden": "true" }, h("path", { d: SHAPES[level] }));
}

const SECONDS = 600;
const WIDTH = 600;
const HEIGHT = 64;
const BINS = 120;

/** Return the plot of a rate in bytes per second, from pairs of a time and a rate. */
export function ratePlot(rates, now) {
  const means = averaged(rates ?? [], now);
  const peak = Math.max(0, ...means);
  const step = WIDTH / (BINS - 1);
  const y = (value) => (HEIGHT - 1 - (peak ? (value / peak) * (HEIGHT - 3) : 0)).toFixed(1);
  const points = means.map((value, place) => `${(place * step).toFixed(1)} ${y(value)}`);
  // The curve is only drawn where something was sent, with its way up and down.
  const isPart = (place) => means[place - 1] > 0 || means[place] > 0 || means[place + 1] > 0;
  const curve = points.map((point, place) => (isPart(place) ? `${place && isPart(place - 1) ? "L" : "M"}${point}` : "")).join("");
  const told = peak ? `Rate of the last 10 minutes: now ${size(means.at(-1))}/s, peak ${size(peak)}/s` : "Nothing was sent in the last 10 minutes";
  return {
    peak,
    element: h("svg", { class: "plot", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": told },
      h("line", { class: "base", x1: 0, x2: WIDTH, y1: HEIGHT - 0.5, y2: HEIGHT - 0.5 }),
      peak > 0 && h("path", { class: "area", d: `M0 ${HEIGHT}L${points.join("L")}L${WIDTH} ${HEIGHT}Z` }),
      peak > 0 && h("path", { class: "curve", d: curve })),
  };
}

function averaged(rates, now) {
  const sums = new Array(BINS).fill(0);
  const amounts = new Array(BINS).fill(0);
  for (const [at, rate] of rates) {
    const place = BINS - 1 - Math.floor(((now - at) / SECONDS) * BINS);
    if (place >= 0 && now >= at - 1) {
      const bin = Math.min(place, BINS - 1);
      sums[bin] += rate;
      amounts[bin] += 1;
    }
  }
  return sums.map((sum, place) => (amounts[place] ? sum / amounts[place] : 0));
}
