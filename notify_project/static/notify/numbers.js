// @ts-check
/** Numbers as people read them, short and of even width. A number that is not known is a dash, never 0. */

export const NOT_KNOWN = "–";
const THIN = "\u202f";
/** @type {[string, number][]} */
const UNITS = [
  ["d", 86_400],
  ["h", 3600],
  ["min", 60],
  ["s", 1],
];
const SCALES = ["", "k", "M", "G"];
const BYTES = ["B", "KiB", "MiB", "GiB", "TiB"];

/** @typedef {number | null | undefined} Maybe */

/** @param {Maybe} n 1234567 → "1 234 567" */
export function whole(n) {
  return n == null ? NOT_KNOWN : String(Math.round(n)).replace(/\B(?=(\d{3})+$)/g, THIN);
}

/** @param {Maybe} n per second: 1234 → "1.2 k/s" */
export function rate(n) {
  return n == null ? NOT_KNOWN : `${short(n)}/s`;
}

/** @param {number} n three digits at most, and what they are multiplied by */
export function short(n) {
  let scale = 0;
  let rest = n;
  while (rest >= 999.5 && scale < SCALES.length - 1) {
    rest /= 1000;
    scale += 1;
  }
  if (scale === 0) return digits(rest);
  return `${rest < 9.95 ? rest.toFixed(1) : Math.round(rest)}${THIN}${SCALES[scale]}`;
}

/** @param {Maybe} milliseconds how long something takes: 0.42 → "0.4 ms", 1234 → "1.2 s" */
export function ms(milliseconds) {
  if (milliseconds == null) return NOT_KNOWN;
  return milliseconds < 999.5 ? `${digits(milliseconds)}${THIN}ms` : age(milliseconds);
}

/** @param {Maybe} milliseconds how long ago something was: 12345 → "12 s", 3723000 → "1 h 2 min" */
export function age(milliseconds) {
  if (milliseconds == null) return NOT_KNOWN;
  const seconds = Math.max(milliseconds, 0) / 1000;
  if (seconds < 59.95) return `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)}${THIN}s`;
  return span(seconds);
}

/** @param {number} seconds the two largest units of it */
function span(seconds) {
  let rest = Math.floor(seconds);
  const first = UNITS.findIndex(([, unit]) => rest >= unit);
  const parts = UNITS.slice(first, first + 2).map(([name, unit]) => {
    const count = Math.floor(rest / unit);
    rest %= unit;
    return count ? `${count}${THIN}${name}` : "";
  });
  return parts.filter(Boolean).join(" ");
}

/** @param {Maybe} milliseconds until something is due: 4200 → "in 5 s", 0 or less → "now" */
export function until(milliseconds) {
  if (milliseconds == null) return NOT_KNOWN;
  const seconds = Math.ceil(milliseconds / 1000);
  if (seconds <= 0) return "now";
  return `in ${seconds < 60 ? `${seconds}${THIN}s` : span(seconds)}`;
}

/** @param {Maybe} n 1536 → "1.5 KiB" */
export function bytes(n) {
  if (n == null) return NOT_KNOWN;
  const scale = Math.min(Math.floor(Math.log2(Math.max(n, 1)) / 10), BYTES.length - 1);
  return `${digits(n / 1024 ** scale)}${THIN}${BYTES[scale]}`;
}

/** @param {number} n below 1024, with three digits at most and one place at most below 100 */
function digits(n) {
  if (n === 0) return "0";
  if (n < 9.95) return n.toFixed(1).replace(/\.0$/, "");
  return String(Math.round(n));
}
