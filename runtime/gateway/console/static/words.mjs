// Numbers, times and names as people read them.
const COMPACT = new Intl.NumberFormat("en-GB", { notation: "compact", maximumFractionDigits: 1 });
const WHOLE = new Intl.NumberFormat("en-GB");
const MOMENT = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "short" });
const CLOCK = new Intl.DateTimeFormat("en-GB", {
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  fractionalSecondDigits: 3,
});
const AGO = new Intl.RelativeTimeFormat("en-GB", { numeric: "auto" });
const STEPS = [
  ["year", 31536000],
  ["month", 2592000],
  ["day", 86400],
  ["hour", 3600],
  ["minute", 60],
];

export const whole = (number) => WHOLE.format(number);
export const compact = (number) => (number < 10000 ? WHOLE.format(number) : COMPACT.format(number));
export const percent = (share) => `${Math.round(share * 100)} %`;
export const moment = (seconds) => MOMENT.format(seconds * 1000);
export const count = (number, one, many = `${one}s`) => `${whole(number)} ${number === 1 ? one : many}`;

/** The time of day of a moment in ISO 8601, with milliseconds, here and not in UTC. */
export const clock = (iso) => CLOCK.format(new Date(iso));

/** How long ago something was, in words. */
export function ago(seconds) {
  const past = seconds - Date.now() / 1000;
  for (const [unit, size] of STEPS) if (-past >= size) return AGO.format(Math.round(past / size), unit);
  return "just now";
}

/** A length of time, as short as it can be said. */
export function lasting(seconds) {
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 90) return `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

export function bytes(size) {
  for (const unit of ["B", "kB", "MB", "GB"]) {
    if (size < 1000) return `${size < 10 && unit !== "B" ? size.toFixed(1) : Math.round(size)} ${unit}`;
    size /= 1000;
  }
  return `${size.toFixed(1)} TB`;
}

/** A revision by the first digits of its digest, and the base by its name. */
export const short = (revision) => (!revision || revision === "base" ? "base" : revision.slice(0, 10));

/** What a number of one that may be missing is. */
export const decimal = (number, digits = 3) =>
  number === null || number === undefined ? "–" : number.toFixed(digits);
