// Values as text: names from outside made safe to show, and numbers that read the same in every locale.

const ESCAPED = /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]/gu;
const NARROW_SPACE = "\u202f";

/** Return text with control characters, direction marks and bytes that were not UTF-8 written as escapes. */
export function display(text) {
  return String(text ?? "").replace(ESCAPED, (char) => {
    const code = char.codePointAt(0);
    const byte = code < 0x100 ? code : code >= 0xdc80 && code <= 0xdcff ? code - 0xdc00 : null;
    return byte === null ? `\\u${code.toString(16).padStart(4, "0")}` : `\\x${byte.toString(16).padStart(2, "0")}`;
  });
}

/** Return a path with its middle left out where it is longer than the limit: both ends tell files apart. */
export function shorten(text, limit) {
  const chars = [...text];
  if (chars.length <= limit) return text;
  const head = Math.floor((limit - 1) * 0.4);
  return `${chars.slice(0, head).join("")}…${chars.slice(chars.length - (limit - 1 - head)).join("")}`;
}

/** Return a whole number with its digits in groups of three. */
export function number(value) {
  return String(Math.round(value ?? 0)).replace(/\B(?=(\d{3})+$)/g, NARROW_SPACE);
}

/** Return a count with its noun. */
export function counted(count, singular, plural = `${singular}s`) {
  return `${number(count)} ${count === 1 ? singular : plural}`;
}

/** Return a number of bytes in binary units, as the command line does. */
export function size(bytes) {
  if (bytes < 1024) return `${Math.round(bytes ?? 0)} B`;
  let left = bytes / 1024;
  for (const unit of ["KiB", "MiB", "GiB"]) {
    if (left < 999.95) return `${left.toFixed(1)} ${unit}`;
    left /= 1024;
  }
  return `${left.toFixed(1)} TiB`;
}

/** Return a duration, as the command line does: "2.1 s", "1 min 05 s", "2 h 10 min". */
export function duration(seconds) {
  if (seconds < 59.95) return `${seconds.toFixed(1)} s`;
  const two = (value) => String(value).padStart(2, "0");
  const whole = Math.round(seconds);
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${two(whole % 60)} s`;
  return `${Math.floor(whole / 3600)} h ${two(Math.floor(whole / 60) % 60)} min`;
}

/** Return a duration in one unit, for what only has to be roughly right. */
export function roughly(seconds) {
  for (const [unit, length] of [["d", 86400], ["h", 3600], ["min", 60]]) {
    if (seconds >= length) return `${Math.floor(seconds / length)} ${unit}`;
  }
  return `${Math.max(0, Math.floor(seconds))} s`;
}

/** Return how far a moment is from now: "3 min ago", "in 25 min". */
export function distance(at, now) {
  if (Math.abs(now - at) < 1) return "now";
  return at <= now ? `${roughly(now - at)} ago` : `in ${roughly(at - now)}`;
}

/** Return a moment in local time: "2026-11-30 19:58:16". */
export function moment(at) {
  const date = new Date(at * 1000);
  const two = (value) => String(value).padStart(2, "0");
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

/** Return a text with a capital at its beginning. */
export function capital(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
