// Times, amounts and names as people read them. Pure.

const UNITS = [
  [86400, "d"],
  [3600, "h"],
  [60, "min"],
  [1, "s"],
];

/** A duration in its largest unit: "45 s", "3 min", "5 h". */
export function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  for (const [size, unit] of UNITS) if (whole >= size) return `${Math.floor(whole / size)} ${unit}`;
  return "0 s";
}

/** A short duration to a tenth: "3.4 s", else as `duration`. */
export function took(seconds) {
  return seconds < 10 ? `${seconds.toFixed(1)} s` : duration(seconds);
}

export function money(usd) {
  if (usd === null || usd === undefined) return "no price";
  if (usd === 0) return "$0";
  if (usd < 0.01) return "<$0.01";
  return usd < 1000 ? `$${usd.toFixed(2)}` : `$${Math.round(usd).toLocaleString("en")}`;
}

export function compact(number) {
  if (number < 1000) return String(number);
  for (const [size, unit] of [[1e9, "B"], [1e6, "M"], [1e3, "k"]]) {
    if (number >= size) {
      const value = number / size;
      return `${value < 10 ? value.toFixed(1) : Math.round(value)}${unit}`;
    }
  }
  return String(number);
}

export function counted(number, thing) {
  return `${number.toLocaleString("en")} ${thing}${number === 1 ? "" : "s"}`;
}

export function shortId(id) {
  return id.slice(0, 8);
}

/** The time of day, with the day if it is another one. */
export function clock(iso, now = Date.now()) {
  const moment = new Date(iso);
  const time = moment.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });
  return moment.toDateString() === new Date(now).toDateString()
    ? time
    : `${moment.toLocaleDateString([], { month: "short", day: "numeric" })} ${time}`;
}

/** A hue from 0 to 359 that belongs to a name. */
export function hue(name) {
  let hash = 0;
  for (const character of name) hash = (hash * 31 + character.codePointAt(0)) >>> 0;
  return (hash * 137) % 360;
}

export function initials(name) {
  const words = name.split(/[^A-Za-z0-9]+/).filter(Boolean);
  return (words.length > 1 ? words[0][0] + words[1][0] : name.slice(0, 2)).toUpperCase();
}

/** States of agents and tasks -> the tone that they are drawn in. */
export const TONES = {
  working: "busy", running: "busy", verifying: "busy", starting: "busy", assigned: "ready",
  idle: "ready", pending: "calm", suspended: "calm", stopped: "off", cancelled: "off",
  paused: "warn", draining: "warn", blocked: "warn",
  error: "bad", failed: "bad", completed: "good", finished: "good",
};

export function tone(state) {
  return TONES[state] ?? "calm";
}
