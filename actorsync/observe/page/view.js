// What the page shows: descriptions of elements, made from the status and from what the reader has chosen.

import { h } from "./dom.js";
import { byUrgency, counts, level, summary, tone, total, troubles, word, worst } from "./mirror.js";
import { icon, ratePlot } from "./plot.js";
import { capital, counted, display, distance, duration, moment, number, shorten, size } from "./text.js";

const CHOICES = { all: "All", failed: "Failed", attention: "Need attention", paused: "Paused", running: "Running", good: "In sync", idle: "Not run yet" };

const [div, p, span] = ["div", "p", "span"].map((tag) => (name, ...children) => h(tag, name && { class: name }, ...children));

/** Return the head of the page: the state of everything, the state of the connection, and the ways to choose. */
export function head({ status, link, chosen, now }, choose) {
  const mirrors = status?.mirrors ?? [];
  return [
    div("title",
      h("h1", {}, span("mark", "actorsync"), status && h("span", { class: `sum ${worst(mirrors)}` }, icon(worst(mirrors)), summary(mirrors))),
      connection(link, now)),
    mirrors.length > 1 && totals(mirrors),
    mirrors.length > 1 && choices(mirrors, chosen, choose),
  ];
}

function connection({ isLive, reason, receivedAt }, now) {
  if (isLive) return p("link live", "Live");
  if (!reason) return p("link", "Connecting…");
  if (receivedAt === null) return p("link lost", h("strong", {}, "Not connected"), ` · ${display(reason)}`);
  return p("link lost", h("strong", {}, "Connection lost"), ` · ${display(reason)} · state of ${distance(receivedAt, now)}`);
}

function totals(mirrors) {
  const running = mirrors.filter((mirror) => mirror.state === "running" && mirror.progress);
  const sum = (name) => running.reduce((all, mirror) => all + (mirror.progress[name] ?? 0), 0);
  if (!running.length) return null;
  return p("totals",
    span(null, `${number(sum("files_done"))} of ${number(sum("files_planned"))} files`),
    span(null, `${size(sum("bytes_sent"))} of ${size(sum("bytes_planned"))}`),
    span(null, `${size(sum("rate"))}/s`));
}

function choices(mirrors, chosen, choose) {
  const found = { all: mirrors.length, ...counts(mirrors) };
  return h("div", { class: "choices", role: "search" },
    h("div", { class: "chips", role: "group", "aria-label": "Show by state" },
      Object.keys(CHOICES).filter((name) => name === chosen.level || found[name]).map((name) =>
        h("button", { key: name, type: "button", class: `chip ${name}`, "aria-pressed": String(chosen.level === name), onclick: () => choose({ level: name }) },
          name !== "all" && icon(name), `${CHOICES[name]} `, h("b", null, number(found[name]))))),
    h("input", { type: "search", "aria-label": "Filter by name, source or target", placeholder: "Filter", oninput: (event) => choose({ text: event.target.value }) }));
}

/** Return the mirrors that are chosen, those with trouble first. */
export function body({ status, chosen, open, now }, toggle) {
  if (!status) return [p("empty", "Waiting for the state of the run…")];
  const wanted = chosen.text.toLowerCase();
  const found = byUrgency(status.mirrors).filter((mirror) =>
    (chosen.level === "all" || level(mirror) === chosen.level) && `${mirror.name}\n${mirror.source}\n${mirror.target}`.toLowerCase().includes(wanted));
  const isAlone = status.mirrors.length === 1;
  if (!found.length) return [p("empty", status.mirrors.length ? "No mirror matches the filter." : "There are no mirrors.")];
  return found.map((mirror) => card(mirror, status.now, now, isAlone || open.has(mirror.name), isAlone ? null : () => toggle(mirror.name)));
}

/** Return the foot of the page. */
export function foot({ status }) {
  if (!status) return [];
  return [p(null, `actorsync ${display(status.version)} · process ${status.pid} · started `, h("time", {}, moment(status.started_at)), " · ",
    h("a", { href: "status.json" }, "status.json"), " · ", h("a", { href: "metrics" }, "metrics"))];
}

function card(mirror, statusNow, now, isOpen, toggle) {
  const shown = tone(mirror);
  const name = display(mirror.name);
  const found = troubles(mirror);
  const heading = [icon(shown), span("state", word(mirror)), span("name", name)];
  return h("article", { key: mirror.name, class: `mirror ${level(mirror)}${isOpen ? " open" : ""}`, "aria-label": name },
    div("row",
      h("h2", {}, toggle ? h("button", { type: "button", "aria-expanded": String(isOpen), onclick: toggle }, heading, h("span", { class: "turn", "aria-hidden": "true" })) : heading),
      p("ends", path(mirror.source, isOpen ? Infinity : 20), span("unseen", " to "), h("span", { "aria-hidden": "true" }, " → "), path(mirror.target, isOpen ? Infinity : 28)),
      div("doing",
        found.length > 0 && p("trouble", found.join(" · ")),
        mirror.state === "running" ? bar(mirror, name) : found.length === 0 && p("calm", calm(mirror))),
      p("when", ago("last success", mirror.last_success_at, now, "no success yet"), mirror.next_at !== null && mirror.state !== "running" && ago("next pass", mirror.next_at, now))),
    isOpen && details(mirror, statusNow, now));
}

function calm(mirror) {
  if (mirror.paused || mirror.state === "paused") return "Nothing is sent until it is resumed";
  if (!mirror.last) return mirror.reason ? capital(display(mirror.reason)) : "No run yet";
  return capital(display(mirror.last.result));
}

function bar({ progress }, name) {
  if (!progress) return null;
  const { share, is_total_known: isKnown, rate } = progress;
  const left = isKnown && rate > 0 ? Math.max(0, progress.bytes_planned - progress.bytes_sent) / rate : null;
  const percent = Math.floor(share * 100);
  return div("going",
    h("progress", { max: 1, value: share, "aria-label": `Progress of ${name}` }),
    p(null, h("b", null, isKnown ? `${percent} %` : "counting"), span(null, `${size(rate)}/s`), left > 0 && span(null, `${duration(left)} left`)));
}

function details(mirror, statusNow, now) {
  const { progress, watch } = mirror;
  const isRunning = mirror.state === "running";
  const connections = mirror.connections.filter((it) => isRunning || it.connected);
  return div("details",
    div("going-on",
      isRunning && progress && section("now", "Now", p("figures",
        span(null, h("b", null, number(progress.files_done)), ` of ${progress.is_total_known ? "" : "at least "}${counted(progress.files_planned, "file")}`),
        !progress.is_total_known && span(null, h("b", null, number(progress.files_found)), " found"),
        span(null, h("b", null, size(progress.bytes_sent)), ` of ${progress.is_total_known ? "" : "at least "}${size(progress.bytes_planned)}`),
        mirror.scope != null && span(null, `only ${counted(mirror.scope, "directory", "directories")}`))),
      section("rate", "Rate", rate(mirror, statusNow)),
      connections.length > 0 && section("connections", "Connections", h("ol", {}, connections.map(line)))),
    section("facts", "State", h("dl", {},
      fact("Last success", when(mirror.last_success_at, now, "none yet")),
      fact(isRunning ? "Running since" : "Last began", when(mirror.began_at, now, "not yet")),
      mirror.reason && fact("Reason", display(mirror.reason)),
      !isRunning && fact("Next pass", when(mirror.next_at, now, "none planned")),
      watch && fact("Watching", `${watch.directories ? `${counted(watch.directories, "directory", "directories")} ` : ""}by ${display(watch.how)}${watch.why ? `: ${display(watch.why)}` : ""}`),
      watch && fact("Oldest change not live", watch.hinted_at ? when(watch.hinted_at, now) : "none"))),
    entries(mirror, "failures", "Failures", ["Path", "Reason"], (it) => [path(it.path), display(it.reason)]),
    entries(mirror, "parked", "Parked", ["Path", "Reason", "Tries", "Next try"], (it) => [path(it.path), display(it.reason), number(it.failures), when(it.retry_at, now, "when it changes")]),
    entries(mirror, "drift", "Changed on the target by others", ["Path", "Was", "Is now", "Since"], (it) => [path(it.path), entry(it.was), entry(it.now), when(it.since, now)]),
    entries(mirror, "conflicts", "Conflicts", ["Path", "Reason"], (it) => [path(it.path ?? it), display(it.reason)]),
    entries(mirror, "runs", "Last runs", ["Began", "Result", "Took", "Of", "Copied", "Bytes", "Removed", "Moved", "Failed"], (it) => [
      when(it.began_at, now), h("span", { class: it.exit_code === 0 ? "fine" : "bad", title: it.error ? display(it.error) : null }, display(it.result)), duration(it.seconds),
      it.scope == null ? "everything" : counted(it.scope, "directory", "directories"), number(it.copied), size(it.copied_bytes), number(it.removed), number(it.moved), number(it.failed)]));
}

function rate(mirror, statusNow) {
  const { peak, minutes, element } = ratePlot(mirror.rates, statusNow);
  return div("rate", element, h("p", { class: "axis", "aria-hidden": "true" },
    span(null, `${minutes} min ago`), span(null, peak ? `peak ${size(peak)}/s` : "nothing sent"), span(null, "now")));
}

function line(it) {
  const share = it.size ? Math.min(1, it.sent / it.size) : 0;
  return h("li", { key: it.number },
    span("number", `#${it.number}`),
    h("span", { class: it.state === "reconnecting" ? "away" : null }, display(it.state), it.uploads > 1 && ` ${it.uploads} files`),
    it.path ? path(it.path, 72) : span("path"),
    it.path && it.size > 0 && h("progress", { max: 1, value: share, "aria-label": `Connection ${it.number}` }),
    it.path && span("amount", `${size(it.sent)} of ${size(it.size)}`));
}

function entries(mirror, name, title, columns, cells) {
  const list = mirror[name] ?? [];
  if (!list.length) return null;
  const all = total(mirror, name);
  const more = all > list.length ? `first ${number(list.length)} of ${number(all)}` : name === "runs" ? "" : number(all);
  const label = `${title} of ${display(mirror.name)}`;
  return h("section", { key: name, class: `entries ${name}` }, h("h3", {}, title, more && span("amount", more)),
    h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": label },
      // The roles say what the elements are also where the style of a narrow screen makes lines of the cells.
      h("table", { role: "table" },
        h("thead", {}, h("tr", { role: "row" }, columns.map((column) => h("th", { scope: "col", role: "columnheader" }, column)))),
        h("tbody", {}, list.map((it) => h("tr", { role: "row" }, cells(it).map((cell, place) => h("td", { role: "cell", class: cell === "0" ? "zero" : null, "data-name": columns[place].toLowerCase() }, cell))))))));
}

function section(name, title, ...children) {
  return h("section", { key: name, class: name }, h("h3", {}, title), ...children);
}

function fact(name, value) {
  return [h("dt", {}, name), h("dd", {}, value)];
}

function entry(it) {
  if (it == null) return "missing";
  return `${display(it.kind)}${it.kind === "file" ? `, ${size(it.size)}` : ""}`;
}

function path(text, limit = Infinity) {
  const whole = display(text) || "the root";
  return h("bdi", { class: "path", dir: "ltr", title: whole }, shorten(whole, limit));
}

function when(at, now, otherwise = "") {
  return at == null ? otherwise : h("time", { title: moment(at) }, distance(at, now));
}

function ago(name, at, now, otherwise) {
  if (at == null) return otherwise ? span(null, otherwise) : null;
  return h("span", { title: moment(at) }, `${name} ${distance(at, now)}`);
}
