// Values in, text out. No DOM, no clock: `now` is always an argument.

const numbers = new Intl.NumberFormat();

// Job data is written by strangers. The browser will not run it as long as it is text, but two kinds of
// character still lie to the reader: controls (terminal escapes, which vanish) and directional overrides
// (which reorder what stands around them). Both are shown by name instead of being obeyed.
const CONTROLS = /[\u0000-\u0008\u000b-\u001f\u007f]/g;
const UNSEEN = /[\u0080-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060\u2066-\u2069\ufeff]/g;

export function clean(text) {
  return text.replaceAll('\r\n', '\n').replace(CONTROLS, escape).replace(UNSEEN, codePoint);
}

// As source code would write it: few fonts have the pictures Unicode keeps for these.
function escape(character) {
  return `\\x${character.charCodeAt(0).toString(16).padStart(2, '0')}`;
}

function codePoint(character) {
  return `⟨U+${character.charCodeAt(0).toString(16).toUpperCase().padStart(4, '0')}⟩`;
}

/** Any value as text; a string is itself, without quotes. */
export function textOf(value) {
  if (value === null || value === undefined) return '';
  if (typeof value === 'string') return value;
  return JSON.stringify(value) ?? String(value);
}

/** One line, cut with an ellipsis: for places that have room for no more. */
export function oneLine(value, most = 200) {
  return cut(clean(textOf(value).slice(0, most * 2)).replace(/\s+/g, ' ').trim(), most);
}

/** Many lines, objects indented; a megabyte of result must not become a megabyte of layout. */
export function block(value, most = 20_000) {
  const whole = typeof value === 'string' ? value : JSON.stringify(value, null, 2) ?? '';
  if (whole.length <= most) return clean(whole);
  return `${clean(whole.slice(0, most))}\n… ${count(whole.length - most)} more characters`;
}

function cut(text, most) {
  return text.length > most ? `${text.slice(0, most - 1)}…` : text;
}

export function count(number) {
  return numbers.format(number);
}

/** In which states a job's children are, those it has in each: `2 of 7 completed, 1 failed, 3 running, 1 waiting`. */
export function children(counts) {
  if (!Number.isFinite(counts?.total)) return '';
  const others = [['failed', 'failed'], ['cancelled', 'cancelled'], ['active', 'running'], ['waiting', 'waiting']]
    .filter(([state]) => counts[state] > 0).map(([state, word]) => `, ${count(counts[state])} ${word}`);
  return `${count(counts.completed ?? 0)} of ${count(counts.total)} completed${others.join('')}`;
}

/** Rounded down: 99.97 is not finished, so it may not read 100 %. */
export function percent(value) {
  if (typeof value !== 'number' || !Number.isFinite(value)) return '';
  const tenths = Math.floor(Math.min(100, Math.max(0, value)) * 10 + 1e-9);
  return tenths % 10 === 0 ? `${tenths / 10}%` : `${(tenths / 10).toFixed(1)}%`;
}

/** A time that is over: as exact as is of use. */
export function duration(ms) {
  if (typeof ms !== 'number' || !Number.isFinite(ms) || ms < 0) return '';
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 9950) return `${(ms / 1000).toFixed(1)} s`;
  const seconds = Math.round(ms / 1000);
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} m ${two(seconds % 60)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 1440) return `${Math.floor(minutes / 60)} h ${two(minutes % 60)} m`;
  return `${Math.floor(minutes / 1440)} d ${two(Math.floor(minutes / 60) % 24)} h`;
}

/** A time that is running: changes once a second and keeps its width. */
export function clock(ms) {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  const hours = Math.floor(seconds / 3600);
  const rest = `${hours ? two(Math.floor(seconds / 60) % 60) : Math.floor(seconds / 60)}:${two(seconds % 60)}`;
  return hours ? `${hours}:${rest}` : rest;
}

function two(number) {
  return String(number).padStart(2, '0');
}

/** The time of day; with the date when that is not today's. */
export function moment(ms, now) {
  if (!Number.isFinite(ms)) return '';
  const then = new Date(ms);
  const today = then.toDateString() === new Date(now).toDateString();
  const time = `${two(then.getHours())}:${two(then.getMinutes())}:${two(then.getSeconds())}`;
  return today ? time : `${then.getFullYear()}-${two(then.getMonth() + 1)}-${two(then.getDate())} ${time}`;
}

/** What the time column says of a job. */
export function elapsed(job, now) {
  if (job.finishedAt !== null) return duration(job.processingTime ?? since(job.startedAt, job.finishedAt));
  if (job.startedAt !== null && job.running) return clock(now - job.startedAt);
  if (job.retryAt !== null) return `in ${clock(job.retryAt - now + 999)}`;
  return '';
}

function since(from, to) {
  return from === null ? Number.NaN : to - from;
}

/** What the job says it is doing, in one line. */
export function activity(job) {
  const said = [job.stage, job.details].filter((part) => part !== null && part !== '');
  if (said.length === 0 && job.progress !== null && typeof job.progress === 'object') said.push(job.progress);
  return said.map((part) => oneLine(part)).join(' · ');
}

export function attempts(job) {
  if (job.maxAttempts > 1) return `attempt ${job.attempt} of ${Math.max(job.maxAttempts, job.attempt)}`;
  return job.attempt > 1 ? `attempt ${job.attempt}` : '';
}

/** A refusal in the server's own words, with its code, and whether asking again makes sense. */
export function refusal(error) {
  const code = error.code ? ` (${oneLine(error.code, 64)})` : '';
  return `${oneLine(error.message ?? 'No reason was given.', 400)}${code}${error.retryable ? ' — worth trying again' : ''}`;
}
