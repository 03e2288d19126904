// What a row opens to: facts, result or error, log lines.

import { el, setAttribute, setHidden, setText } from './dom.js';
import { block, children, clean, count, duration, moment, oneLine, refusal, textOf } from './format.js';
import { Kept } from './kept.js';

export class Detail {
  constructor(id, jobId, acts) {
    this.facts = el('dl', { class: 'facts' });
    this.shown = new Map();
    this.error = outcome('Error', 'failed');
    this.result = outcome('Result', 'completed');
    this.log = new Log();
    this.kept = new Kept(jobId, acts);
    this.node = el('div', { class: 'detail', id, hidden: true },
      this.error.node, this.result.node, this.log.node, this.facts, this.kept.node);
  }

  update(job, now) {
    this.error.update(job.error === null || job.error === '' ? undefined : job.error);
    this.result.update(job.result === null ? undefined : job.result);
    this.log.update(job, now);
    this.kept.update(job, now);
    for (const [name, text] of factsOf(job, now)) this.fact(name, text);
  }

  fact(name, text) {
    if (!this.shown.has(name)) {
      if (text === '') return;
      const value = el('dd', { dir: 'auto' });
      this.shown.set(name, { value, pair: el('div', {}, el('dt', {}, name), value) });
      this.facts.append(this.shown.get(name).pair);
    }
    const { value, pair } = this.shown.get(name);
    setText(value, text);
    setHidden(pair, text === '');
  }
}

// The last of them may have ended after the last that was told of them: its own worker was at once at work.
function childrenOf(job) {
  return job.state === 'waiting-children' ? job.children : job.kept.found?.children ?? job.children;
}

function factsOf(job, now) {
  return [
    ['Id', job.jobId],
    ['Queue', job.queue ?? ''],
    ['Worker', oneLine(job.worker, 120)],
    ['Queued', moment(job.queuedAt ?? NaN, now)],
    ['Started', moment(job.startedAt ?? NaN, now)],
    ['Finished', moment(job.finishedAt ?? NaN, now)],
    ['Waited', duration(job.queueToStartTime)],
    ['Worked', duration(job.processingTime)],
    ['Altogether', duration(job.totalTime)],
    ['Parent', oneLine(job.parentId, 128)],
    ['Children', children(childrenOf(job))],
    ['Position', job.epoch === null ? '' : `${oneLine(job.epoch, 40)} · ${count(job.seq)}`],
  ];
}

function outcome(title, kind) {
  const text = el('pre', { dir: 'auto', tabindex: '0', 'aria-label': title });
  const node = el('section', { class: `outcome ${kind}`, hidden: true }, el('h4', {}, title), text);
  let last;
  const update = (value) => {
    if (value === last) return;
    last = value;
    setHidden(node, value === undefined);
    setText(text, value === undefined ? '' : block(value));
  };
  return { node, update };
}

class Log {
  constructor() {
    this.note = el('span', { class: 'muted' });
    // A region of role log would be read out line by line; who wants that can step into it.
    this.list = el('div', { class: 'lines', role: 'log', 'aria-live': 'off', 'aria-label': 'Log lines', tabindex: '0' });
    this.node = el('section', { class: 'log', hidden: true }, el('h4', {}, 'Log ', this.note), this.list);
    this.last = 0;
    this.version = -1;
  }

  update(job, now) {
    const { lines, dropped, version, problem } = job.log;
    setHidden(this.node, lines.length === 0 && problem === null);
    setText(this.note, noteOf(job.log));
    setHidden(this.list, lines.length === 0);
    const first = lines[0]?.seq ?? 0;
    if (version === this.version && dropped === this.dropped && (lines.at(-1)?.seq ?? 0) === this.last) return;
    const atEnd = this.list.scrollTop + this.list.clientHeight >= this.list.scrollHeight - 8;
    if (version !== this.version || job.epoch !== this.epoch) this.clear();
    this.list.append(...lines.filter((line) => line.seq > this.last).map((line) => lineOf(line, now)));
    while (this.list.firstChild && Number(this.list.firstChild.dataset.seq) < first) this.list.firstChild.remove();
    Object.assign(this, { version, dropped, epoch: job.epoch, last: lines.at(-1)?.seq ?? 0 });
    if (atEnd) this.list.scrollTop = this.list.scrollHeight;
  }

  clear() {
    this.list.replaceChildren();
    this.last = 0;
  }
}

function noteOf({ lines, dropped, problem }) {
  if (problem) return `earlier lines could not be fetched: ${refusal(problem)}`;
  if (dropped > 0) return `last ${count(lines.length)} lines; ${count(dropped)} older ones are not kept here`;
  return lines.length === 1 ? '1 line' : `${count(lines.length)} lines`;
}

function lineOf(line, now) {
  const node = el('div', { 'data-seq': line.seq }, el('time', {}, moment(line.at, now)), el('span', { dir: 'auto' }, clean(textOf(line.text))));
  const level = String(line.level ?? '').toLowerCase();
  if (/^(warn|warning)$/.test(level)) setAttribute(node, 'class', 'warn');
  if (/^(error|fatal|critical)$/.test(level)) setAttribute(node, 'class', 'error');
  return node;
}
