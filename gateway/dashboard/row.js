// One job on the page. Built once; afterwards only what differs is touched.

import { Detail } from './detail.js';
import { el, setAttribute, setHidden, setText } from './dom.js';
import { activity, attempts, children, elapsed, oneLine, percent, refusal } from './format.js';
import { TERMINAL } from './record.js';

const STATES = {
  __proto__: null,
  'unknown': 'unknown', 'waiting': 'waiting', 'delayed': 'delayed', 'waiting-children': 'waiting for children',
  'active': 'running', 'stalled': 'stalled', 'completed': 'completed', 'failed': 'failed',
  'cancelling': 'cancelling', 'cancelled': 'cancelled',
};
// A job cancelled before it ran was taken from its queue: there is nothing left to try again.
const retryable = (job) => job.kept.found?.kept !== false
  && (job.state === 'failed' || (job.state === 'cancelled' && job.startedAt !== null));

let built = 0;

export class Row {
  /** `acts`: cancel, retry, promote, remove, opened, earlier (log lines wanted), kept (the server's record wanted), each taking the job's id. A row that is `alone` is open for good. */
  constructor(jobId, acts, { alone = false } = {}) {
    const id = `detail-${++built}`;
    Object.assign(this, { jobId, acts, alone, open: alone });
    this.name = el('a', { class: 'name', dir: 'auto', href: `#job=${encodeURIComponent(jobId)}` });
    this.id = el('span', { class: 'id', title: jobId }, jobId);
    this.state = el('span', { class: 'state' });
    this.tries = el('span', { class: 'tries' });
    this.bar = new Bar();
    this.percent = el('span', { class: 'percent' });
    this.said = el('span', { class: 'said', dir: 'auto' });
    this.time = el('span', { class: 'time' });
    this.eta = el('span', { class: 'eta' });
    this.cancel = el('button', { type: 'button', class: 'quiet', onclick: () => acts.cancel(jobId) }, 'Cancel');
    this.retry = el('button', { type: 'button', class: 'quiet', onclick: () => acts.retry(jobId) }, 'Retry');
    this.more = el('button', { 'type': 'button', 'class': 'quiet more', 'aria-controls': id, 'aria-expanded': String(alone),
      'hidden': alone, 'onclick': () => this.toggle() }, el('span', { class: 'chevron', 'aria-hidden': 'true' }));
    this.note = el('p', { class: 'refused', hidden: true });
    this.detail = new Detail(id, jobId, acts);
    this.detail.node.hidden = !alone;
    this.node = this.build();
  }

  build() {
    return el('li', { 'class': this.alone ? 'job alone' : 'job', 'data-job': this.jobId },
      el('div', { class: 'who' }, this.name, this.id),
      el('div', { class: 'how' }, this.state, this.tries),
      el('div', { class: 'far' }, el('div', { class: 'track' }, this.bar.node, this.percent), this.said),
      el('div', { class: 'long' }, this.time, this.eta),
      el('div', { class: 'actions' }, this.cancel, this.retry, this.more),
      this.note, this.detail.node);
  }

  toggle() {
    this.open = !this.open;
    setAttribute(this.more, 'aria-expanded', String(this.open));
    setHidden(this.detail.node, !this.open);
    if (this.open) this.acts.opened(this.jobId);
  }

  update(job, now) {
    this.job = job;
    const name = oneLine(job.name ?? (job.state === 'unknown' ? 'Unknown job' : 'Unnamed job'), 160);
    setAttribute(this.node, 'data-state', job.state);
    setText(this.name, name);
    setText(this.state, STATES[job.state] ?? oneLine(job.state, 24));
    setText(this.tries, attempts(job));
    this.bar.update(job, name);
    setText(this.percent, percent(job.percent));
    this.say(sayingOf(job));
    this.tick(now);
    this.offer(job, name);
    setHidden(this.note, job.note === null);
    if (job.note) setText(this.note, `Could not ${job.note.what}: ${refusal(job.note.error)}`);
    if (this.open) this.unfold(job, now);
  }

  unfold(job, now) {
    this.detail.update(job, now);
    const { complete, loading } = job.log;
    if (job.epoch !== null && !complete && !loading) this.acts.earlier(this.jobId);
  }

  say({ text, kind }) {
    setText(this.said, text);
    setAttribute(this.said, 'data-kind', kind);
    setAttribute(this.said, 'title', text.length > 60 ? text : null);
  }

  offer(job, name) {
    setHidden(this.cancel, TERMINAL.has(job.state) || job.state === 'cancelling' || job.state === 'unknown');
    setHidden(this.retry, !retryable(job));
    for (const [button, verb] of [[this.cancel, 'Cancel'], [this.retry, 'Retry']]) {
      const disabled = job.busy !== null;
      if (button.disabled !== disabled) button.disabled = disabled;
      setAttribute(button, 'aria-label', `${verb} ${name} ${this.jobId}`);
    }
    setAttribute(this.more, 'aria-label', `Details of ${name} ${this.jobId}`);
  }

  /** The part that changes with time alone. */
  tick(now) {
    setText(this.time, elapsed(this.job, now));
    const { eta, running } = this.job;
    setText(this.eta, running && eta > 0 ? `${Math.max(1, Math.round(eta / 1000))} s left` : '');
  }
}

/** The one line under the bar: the most telling thing known. */
function sayingOf(job) {
  if (job.state === 'failed') return { text: oneLine(job.error), kind: 'error' };
  if (job.state === 'stalled') return { text: oneLine(job.reason) || 'No sign of life from the worker.', kind: 'warn' };
  if (job.state === 'cancelled') return { text: oneLine(job.reason), kind: null };
  if (job.state === 'completed') return { text: oneLine(job.result), kind: 'result' };
  if (job.state === 'waiting-children' && job.children) return { text: children(job.children), kind: null };
  if (!job.running && job.error) return { text: oneLine(job.error), kind: 'error' };
  const doing = activity(job);
  if (doing !== '' || !job.running) return { text: doing, kind: null };
  const line = job.log.lines.at(-1);
  if (line) return { text: oneLine(line.text), kind: 'line' };
  return { text: job.previousError ? `After: ${oneLine(job.previousError)}` : '', kind: null };
}

class Bar {
  constructor() {
    this.fill = el('span', { class: 'fill' });
    this.node = el('div', { 'class': 'bar', 'role': 'progressbar', 'aria-valuemin': '0', 'aria-valuemax': '100' }, this.fill);
  }

  update(job, name) {
    const value = Number.isFinite(job.percent) ? Math.min(100, Math.max(0, job.percent)) : null;
    setAttribute(this.node, 'aria-label', `Progress of ${name}`);
    setAttribute(this.node, 'aria-valuenow', value === null ? null : String(Math.floor(value)));
    setAttribute(this.node, 'aria-valuetext', `${percent(value) || 'no percentage'}, ${STATES[job.state] ?? job.state}`);
    setAttribute(this.node, 'data-unmeasured', value === null && job.running ? '' : null);
    if (value === this.value) return;
    this.value = value;
    this.fill.style.setProperty('transform', `scaleX(${(value ?? 0) / 100})`);
  }
}
