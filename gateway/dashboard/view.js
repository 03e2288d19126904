// The page: one section for each queue, or one job alone. Drawn at most once per frame.

import { arrange, el, setAttribute, setHidden, setText } from './dom.js';
import { count, refusal } from './format.js';
import { QueueBar } from './queuebar.js';
import { Row } from './row.js';

// A queue shows so many rows until asked for all it has; those at work are always shown.
const FIRST_ROWS = 25;

// How long a mouse that rests on a button is taken to be about to press it.
const POISED = 3000;

const COUNTED = [['active', 'running'], ['waiting', 'waiting'], ['prioritized', 'prioritised'], ['delayed', 'delayed'],
  ['waiting-children', 'waiting for children'], ['stalled', 'stalled'], ['paused', 'paused'],
  ['completed', 'completed'], ['failed', 'failed'], ['cancelled', 'cancelled']];

export class View {
  /** `place`: the element to draw in; `now()`: the server's time; `finished(jobs)`: told once per frame. */
  constructor({ place, store, acts, now, finished }) {
    Object.assign(this, { place, store, acts, now, finished });
    this.sections = new Map();
    this.rows = new Map();
    this.alone = null;
    this.frame = null;
    this.cancel = () => {};
    this.empty = el('div', { class: 'empty', hidden: true });
    this.pointedAt = -Infinity;
    place.addEventListener('pointermove', ({ pointerType }) => { if (pointerType === 'mouse') this.pointedAt = performance.now(); });
    this.live = false;
    setInterval(() => this.tick(), 1000);
    document.addEventListener('visibilitychange', () => { this.cancel(); this.frame = null; this.changed(); });
  }

  // A hidden page gets no frames; it is drawn all the same, now and then, or what is to be drawn would pile up.
  changed() {
    if (this.frame !== null) return;
    const draw = () => { this.frame = null; this.draw(); };
    const frame = document.hidden ? setTimeout(draw, 1000) : requestAnimationFrame(draw);
    this.cancel = document.hidden ? () => clearTimeout(frame) : () => cancelAnimationFrame(frame);
    this.frame = frame;
  }

  /** Show the queues (null) or one job. */
  show(jobId) {
    this.alone = jobId === null ? null : new Alone(jobId, this.acts);
    this.rows.clear();
    this.sections.clear();
    this.place.replaceChildren(...(this.alone ? [this.alone.node] : [this.empty]));
    for (const name of this.store.queues.keys()) this.store.markQueue(name, {});
    this.changed();
  }

  draw() {
    const dirty = this.store.drain();
    if (dirty.finished.length) this.finished(dirty.finished);
    if (this.alone) return this.alone.update(this.store.jobs.get(this.alone.jobId), this.now());
    this.drawSections(dirty);
    const now = this.now();
    for (const jobId of dirty.jobs) {
      const job = this.store.jobs.get(jobId);
      if (job) this.rows.get(jobId)?.update(job, now);
    }
  }

  drawSections({ order, queues }) {
    for (const name of [...this.store.queues.keys()].sort()) {
      if (!this.sections.has(name)) this.sections.set(name, new Section(name, () => this.unfold(name),
        (what, body) => this.acts.operate(name, what, body)));
    }
    arrange(this.place, [this.empty, ...[...this.sections.keys()].sort().map((name) => this.sections.get(name).node)]);
    setHidden(this.empty, this.sections.size > 0);
    for (const [name, section] of this.sections) {
      if (order.has(name) || queues.has(name)) this.drawRows(name, section);
      section.update(this.store.queue(name), this.store.hidden(name));
    }
  }

  drawRows(name, section) {
    // A row must not slide away from under a finger about to press its button; it is put in its place later.
    if (this.pressing(section.list)) return this.store.dirty.order.add(name);
    const jobs = this.store.listed(name);
    const shown = section.all ? jobs : jobs.filter(({ running }, index) => running || index < FIRST_ROWS);
    arrange(section.list, shown.map((job) => this.row(job).node));
    section.offer(jobs.length, jobs.length - shown.length);
    // A row out of sight is let go: it is built anew from the store when it is wanted again.
    for (const [jobId, row] of this.rows) if (!row.node.isConnected) this.rows.delete(jobId);
  }

  unfold(name) {
    this.sections.get(name).all = !this.sections.get(name).all;
    this.store.dirty.order.add(name);
    this.changed();
  }

  pressing(list) {
    return performance.now() - this.pointedAt < POISED && list.querySelector('.actions:hover') !== null;
  }

  row(job) {
    if (!this.rows.has(job.jobId)) {
      const row = new Row(job.jobId, this.acts);
      row.update(job, this.now());
      this.rows.set(job.jobId, row);
    }
    return this.rows.get(job.jobId);
  }

  tick() {
    // No clock runs on what cannot be seen: a job may have ended since the connection was lost.
    if (document.hidden || !this.live) return;
    const now = this.now();
    this.alone?.tick(now);
    for (const row of this.rows.values()) row.tick(now);
    if (this.store.dirty.order.size) this.changed();
  }

  sayEmpty(...content) {
    this.empty.replaceChildren(...content);
  }
}

class Section {
  constructor(name, unfold, operate) {
    this.all = false;
    this.counts = el('p', { class: 'counts' });
    this.problem = el('p', { class: 'refused', hidden: true });
    this.bar = new QueueBar(name, operate);
    this.list = el('ol', { class: 'jobs' });
    this.fold = el('button', { type: 'button', class: 'quiet', hidden: true, onclick: unfold });
    this.rest = el('p', { hidden: true });
    this.node = el('section', { 'class': 'queue', 'data-queue': name, 'aria-label': `Queue ${name}` },
      el('header', {}, el('h2', {}, name), this.counts, this.bar.tools),
      this.problem, this.bar.standing, this.bar.stuck, this.bar.note, this.list,
      el('div', { class: 'foot' }, this.fold, this.rest));
  }

  offer(total, folded) {
    setHidden(this.fold, !this.all && folded === 0);
    setText(this.fold, this.all ? 'Show fewer' : `Show all ${count(total)}`);
  }

  update(queue, hidden) {
    this.tally(queue.counts ?? {});
    this.bar.update(queue);
    setAttribute(this.node, 'data-live', queue.live);
    setHidden(this.problem, queue.problem === null);
    if (queue.problem) setText(this.problem, `Not followed live: ${refusal(queue.problem)}`);
    setHidden(this.list, queue.jobs.size === 0);
    setHidden(this.rest, hidden === 0 && queue.jobs.size > 0);
    setText(this.rest, queue.jobs.size === 0 && hidden === 0 ? 'No jobs.'
      : `${count(hidden)} more ${hidden === 1 ? 'job is' : 'jobs are'} not shown here.`);
  }

  tally(counts) {
    const known = COUNTED.filter(([state]) => counts[state] > 0);
    const text = known.map(([state]) => `${state} ${counts[state]}`).join();
    if (text === this.tallied) return;
    this.tallied = text;
    this.counts.replaceChildren(...known.map(([state, word]) =>
      el('span', { 'data-state': state }, el('b', {}, count(counts[state])), ` ${word}`)));
  }
}

/** One job on its own page. */
class Alone {
  constructor(jobId, acts) {
    this.jobId = jobId;
    this.acts = acts;
    this.row = new Row(jobId, acts, { alone: true });
    this.waiting = el('p', { class: 'empty' }, 'Asking for this job …');
    this.list = el('ol', { class: 'jobs', hidden: true }, this.row.node);
    this.node = el('section', { 'class': 'queue', 'aria-label': 'One job' },
      el('p', { class: 'back' }, el('a', { href: '#' }, '← All jobs')), this.waiting, this.list);
  }

  update(job, now) {
    const exists = job !== undefined && job.state !== 'unknown';
    setHidden(this.list, !exists);
    setHidden(this.waiting, exists);
    if (job && !exists) setText(this.waiting, `Waiting for job ${this.jobId} to exist. It will appear here as soon as it does.`);
    document.title = exists ? titleOf(job) : 'jobcast';
    if (!exists) return;
    this.row.update(job, now);
  }

  tick(now) {
    if (this.row.job) this.row.tick(now);
  }
}

function titleOf({ name, jobId, state, percent }) {
  const progress = state === 'active' && Number.isFinite(percent) ? `${Math.floor(percent)}%` : state;
  return `${progress} · ${name ?? jobId} · jobcast`;
}
