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

const MINUTES = [2, 10]; // the plot shows the shorter time if it has all there is
const BIN = 5; // seconds that are one point of the curve: more than between two samples
const WIDTH = 600;
const HEIGHT = 64;

/** Return the plot of a rate in bytes per second, from pairs of a time and a rate, the oldest first. */
export function ratePlot(rates, now) {
  const minutes = MINUTES.find((it) => rates[0]?.[0] > now - it * 60) ?? MINUTES.at(-1);
  const means = averaged(rates, now, (minutes * 60) / BIN);
  const peak = Math.max(...means);
  const points = means.map((it, place) => `${((place * WIDTH) / (means.length - 1)).toFixed(1)} ${(HEIGHT - 1 - (it / peak) * (HEIGHT - 3)).toFixed(1)}`);
  // The curve is only drawn where something was sent, with its way up and down.
  const isPart = (place) => means[place - 1] > 0 || means[place] > 0 || means[place + 1] > 0;
  const curve = points.map((point, place) => (isPart(place) ? `${place && isPart(place - 1) ? "L" : "M"}${point}` : "")).join("");
  return {
    peak,
    minutes,
    element: h("svg", { class: "plot", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": `Rate of the last ${minutes} minutes, at most ${size(peak)}/s` },
      h("line", { class: "base", x1: 0, x2: WIDTH, y1: HEIGHT - 0.5, y2: HEIGHT - 0.5 }),
      peak > 0 && h("path", { class: "area", d: `M0 ${HEIGHT}L${points.join("L")}L${WIDTH} ${HEIGHT}Z` }),
      peak > 0 && h("path", { class: "curve", d: curve })),
  };
}

function averaged(rates, now, length) {
  const bins = Array.from({ length }, () => []);
  for (const [at, rate] of rates) bins[length - 1 - Math.max(0, Math.floor((now - at) / BIN))]?.push(rate);
  return bins.map((bin) => bin.reduce((sum, it) => sum + it, 0) / (bin.length || 1));
}
