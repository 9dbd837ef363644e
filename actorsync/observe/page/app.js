// The page: keeps a connection to the run, and shows the last state that it told.
// `status.json` is read once; `events` then carries the same JSON whenever it has changed. Nothing is ever sent.

import { show } from "./dom.js";
import { level, summary, troubles, word, worst } from "./mirror.js";
import { display } from "./text.js";
import { body, foot, head } from "./view.js";

const SILENCE = 30; // seconds without news after which the run is asked whether it is still there
const PATIENCE = 10; // seconds in which it must answer
const LONG = 30; // seconds that a pass has taken whose end is told
const RETRIES = [1, 2, 4, 8, 15]; // seconds between attempts to connect; the last one repeats

const state = {
  status: null,
  link: { isLive: false, reason: "", receivedAt: null },
  chosen: { level: "all", text: "" },
  open: new Set(),
  now: 0,
};
let behind = 0; // seconds by which the clock of this computer is behind that of the run
let heardAt = 0;
let attempts = 0;
let stream = null;
let isDrawing = false;
const told = new Map(); // the last state of each mirror that a screen reader was told

function here() {
  return Date.now() / 1000;
}

function take(status) {
  behind = status.now - here();
  heardAt = here();
  state.status = status;
  state.link.receivedAt = status.now;
  announce(status.mirrors);
  draw();
}

// Passes come and go. What is told is that a mirror gets into trouble, out of it, or has ended a pass that took long.
function announce(mirrors) {
  const news = [];
  for (const mirror of mirrors) {
    const now = { kind: level(mirror), isRunning: mirror.state === "running" };
    const isWell = !["failed", "attention", "paused"].includes(now.kind);
    if (isWell) now.kind = "well";
    const before = told.get(mirror.name) ?? now;
    const isEnd = before.isRunning && !now.isRunning && state.status.now - mirror.began_at > LONG;
    if (before.kind !== now.kind || (isWell && isEnd)) news.push([display(mirror.name), word(mirror), ...troubles(mirror)].join(", "));
    told.set(mirror.name, now);
  }
  if (news.length) say(news.length > 3 ? `${summary(mirrors)}; ${news.length} mirrors changed` : news.join("; "));
}

function say(text) {
  document.getElementById("told").textContent = text;
}

function draw() {
  name();
  if (isDrawing || document.hidden) return;
  isDrawing = true;
  requestAnimationFrame(() => {
    isDrawing = false;
    state.now = here() + behind;
    show(document.getElementById("top"), head(state, choose));
    show(document.getElementById("mirrors"), body(state, toggle));
    show(document.getElementById("end"), foot(state));
    document.documentElement.classList.toggle("lost", !state.link.isLive);
  });
}

function name() {
  const { status, link } = state;
  if (!status) return;
  const isLost = !link.isLive && link.reason !== "";
  const title = `${isLost ? "Connection lost" : summary(status.mirrors)} – actorsync`;
  if (document.title !== title) document.title = title;
  const picture = `page/icon-${isLost ? "lost" : worst(status.mirrors)}.svg`;
  const element = document.getElementById("icon");
  if (element.getAttribute("href") !== picture) element.setAttribute("href", picture);
}

function choose(what) {
  Object.assign(state.chosen, what);
  draw();
}

function toggle(mirror) {
  if (!state.open.delete(mirror)) state.open.add(mirror);
  draw();
}

async function ask() {
  const answer = await fetch("status.json", { cache: "no-store", signal: AbortSignal.timeout(PATIENCE * 1000) });
  if (answer.status === 401 || answer.status === 403) throw new Error("the token is missing or wrong: open this page with ?token=…");
  if (!answer.ok) throw new Error(`the run answered ${answer.status}`);
  take(await answer.json());
}

async function connect() {
  try {
    await ask();
  } catch (error) {
    return lose(error);
  }
  const opened = new EventSource("events");
  stream = opened;
  opened.onopen = () => {
    if (stream !== opened) return;
    if (attempts && state.link.reason) say("Connected again");
    attempts = 0;
    Object.assign(state.link, { isLive: true, reason: "" });
    draw();
  };
  opened.addEventListener("status", (event) => stream === opened && take(JSON.parse(event.data)));
  opened.onerror = () => stream === opened && lose(new Error("the run closed the connection"));
}

function lose(error) {
  stream?.close();
  stream = null;
  if (state.link.isLive) say("Connection lost");
  const reason = error.name === "Error" ? error.message : error.name === "TimeoutError" ? "the run does not answer" : "the run cannot be reached";
  Object.assign(state.link, { isLive: false, reason });
  setTimeout(connect, RETRIES[Math.min(attempts, RETRIES.length - 1)] * 1000);
  attempts += 1;
  draw();
}

async function check() {
  if (!stream || here() - heardAt < SILENCE) return;
  heardAt = here();
  const asked = stream;
  const known = content();
  try {
    await ask();
  } catch (error) {
    if (stream === asked) lose(error);
    return;
  }
  if (stream === asked && content() !== known) {
    stream.close(); // it should have told this: it is dead, and nobody has noticed
    connect();
  }
}

function content() {
  return JSON.stringify({ ...state.status, now: 0 });
}

document.addEventListener("visibilitychange", () => {
  heardAt = 0;
  draw();
  check();
});
setInterval(() => {
  check();
  draw();
}, 1000);
draw();
connect();
