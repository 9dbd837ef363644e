// What the state of a mirror means: in which words it is told, what is wrong with it, and how urgent that is.

import { capital, counted, display, number } from "./text.js";

/** The levels of urgency, the most urgent first. */
export const LEVELS = ["failed", "attention", "paused", "running", "good", "idle"];

// The exit codes of passes that have not failed: in sync, stopped early, changed by others, cancelled.
const NOT_FAILED = [0, 3, 9, 130];

const WORDS = { running: "Running", waiting: "Waiting", idle: "Idle", paused: "Paused", failed: "Failed" };

/** Return how many entries a list of the status has, also where the status holds only the first of them. */
export function total(mirror, list) {
  return mirror[`${list}_total`] ?? mirror[list]?.length ?? 0;
}

/** Return the state in a word. */
export function word(mirror) {
  if (mirror.state === "waiting" && mirror.watch) return "Watching";
  return WORDS[mirror.state] ?? capital(display(mirror.state));
}

/** Return what needs the attention of a person, as short texts; none if all is well. */
export function troubles(mirror) {
  const { breaker, last, state } = mirror;
  const found = [];
  if (breaker) found.push(`the target is ${display(breaker.cause)}: ${display(breaker.reason)}`);
  if (last && last.exit_code !== 0 && last.error) found.push(display(last.error));
  else if (last && last.exit_code !== 0 && !last.failed) found.push(`last run: ${display(last.result)}`);
  else if (!last && state === "failed") found.push(display(mirror.reason));
  if (last?.failed) found.push(`${counted(last.failed, "file")} failed`);
  if (total(mirror, "parked")) found.push(`${number(total(mirror, "parked"))} parked`);
  if (total(mirror, "drift")) found.push(`${number(total(mirror, "drift"))} changed on the target`);
  if (total(mirror, "conflicts")) found.push(counted(total(mirror, "conflicts"), "conflict"));
  if (!found.length && last && state !== "running" && mirror.why_not_ready) found.push(display(mirror.why_not_ready));
  return found;
}

/** Return how urgent a mirror is: one of `LEVELS`. One that has failed stays so until a pass has succeeded. */
export function level(mirror) {
  const isRetrying = mirror.state === "running" && mirror.last && !NOT_FAILED.includes(mirror.last.exit_code);
  if (mirror.state === "failed" || isRetrying) return "failed";
  if (troubles(mirror).length) return "attention";
  if (mirror.paused || mirror.state === "paused") return "paused";
  if (mirror.state === "running") return "running";
  return mirror.last ? "good" : "idle";
}

/** Return the level that a state is shown in, whatever else may need attention. */
export function tone(mirror) {
  return ["failed", "paused", "running"].includes(mirror.state) ? mirror.state : level(mirror);
}

/** Return the mirrors with those in trouble first. The others keep their order: lines must not move with each pass. */
export function byUrgency(mirrors) {
  const rank = (mirror) => Math.min(LEVELS.indexOf(level(mirror)), LEVELS.indexOf("running"));
  return [...mirrors].sort((one, other) => rank(one) - rank(other));
}

/** Return how many mirrors have each level. */
export function counts(mirrors) {
  const found = Object.fromEntries(LEVELS.map((name) => [name, 0]));
  for (const mirror of mirrors) found[level(mirror)] += 1;
  return found;
}

/** Return the state of everything as a short text: of one mirror, or of many. */
export function summary(mirrors) {
  const found = counts(mirrors);
  if (mirrors.length === 0) return "No mirrors";
  if (found.failed) return mirrors.length === 1 ? "Failed" : `${found.failed} failed`;
  if (found.attention) return mirrors.length === 1 ? "Needs attention" : `${found.attention} need attention`;
  if (found.paused) return mirrors.length === 1 ? "Paused" : `${found.paused} paused`;
  if (found.running) {
    const running = mirrors.filter((mirror) => mirror.state === "running");
    const share = running.reduce((sum, mirror) => sum + (mirror.progress?.share ?? 0), 0) / running.length;
    return `${mirrors.length === 1 ? "Running" : `${found.running} running`}, ${Math.floor(share * 100)} %`;
  }
  if (found.good === mirrors.length) return mirrors.length === 1 ? "In sync" : `All ${mirrors.length} in sync`;
  return found.good ? `${found.good} in sync` : "Nothing has run yet";
}

/** Return the level of everything: that of the most urgent mirror. */
export function worst(mirrors) {
  const found = counts(mirrors);
  return LEVELS.find((name) => found[name]) ?? "idle";
}
