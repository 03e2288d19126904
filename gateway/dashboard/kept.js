// What the server keeps of a job, fetched once its row is opened: data, options, stack, history; and what an operator
// does to it there.

import { ask } from './confirm.js';
import { el, setAttribute, setHidden, setText } from './dom.js';
import { block, moment, oneLine, refusal } from './format.js';
import { markOf } from './record.js';

const COMMON = new Set(['seq', 'epoch', 'jobId', 'queue', 'attempt', 'timestamp']);

export class Kept {
  /** `acts`: promote, remove, kept (fetch it), each taking the job's id. */
  constructor(jobId, acts) {
    Object.assign(this, { jobId, acts, found: null });
    this.promote = el('button', { type: 'button', class: 'quiet', onclick: () => acts.promote(jobId) }, 'Promote');
    this.remove = el('button', { type: 'button', class: 'quiet', onclick: () => this.askToRemove() }, 'Remove');
    this.tools = el('div', { 'class': 'tools', 'role': 'group', 'aria-label': `Operate job ${jobId}` }, this.promote, this.remove);
    this.note = el('p', { class: 'standing', hidden: true });
    this.parts = ['Data', 'Options', 'Stack'].map((title) => fold(title, el('pre', { 'dir': 'auto', 'tabindex': '0', 'aria-label': title })));
    this.history = fold('History', el('div', { 'class': 'events', 'tabindex': '0', 'aria-label': 'History' }));
    // Fetched anew: progress adds to it all the time.
    this.history.node.addEventListener('toggle', () => this.history.node.open && acts.kept(jobId));
    this.node = el('section', { class: 'kept' }, this.tools, this.note, ...this.parts.map(({ node }) => node), this.history.node);
  }

  async askToRemove() {
    const sure = await ask({ title: 'Remove this job?', verb: 'Remove it',
      text: `Job ${this.jobId} and its children are taken from their queues. What waits is cancelled; what is over can be tried again no more.` });
    if (sure) this.acts.remove(this.jobId);
  }

  update(job, now) {
    const { found, problem, loading, at } = job.kept;
    if (job.epoch !== null && !loading && at !== markOf(job)) this.acts.kept(this.jobId);
    const gone = found?.kept === false;
    setHidden(this.promote, job.state !== 'delayed' || gone);
    setHidden(this.remove, job.running || job.state === 'unknown' || gone);
    for (const button of [this.promote, this.remove]) if (button.disabled !== (job.busy !== null)) button.disabled = job.busy !== null;
    setHidden(this.note, !problem && !gone);
    setText(this.note, problem ? `No more could be learnt: ${refusal(problem)}` : 'Its queue keeps this job no more; its history is left.');
    if (found === this.found) return;
    this.found = found;
    const stack = found?.stacktrace?.at(-1);
    for (const [index, value] of [found?.data, found?.opts, stack].entries()) this.parts[index].show(value);
    setHidden(this.history.node, !found?.events?.length);
    this.history.body.replaceChildren(...(found?.events ?? []).map((event) => lineOf(event, now)));
  }
}

function fold(title, body) {
  const node = el('details', { class: 'fold', hidden: true }, el('summary', {}, title), body);
  const show = (value) => {
    const nothing = value === null || value === undefined;
    setHidden(node, nothing);
    setText(body, nothing ? '' : block(value));
  };
  return { node, body, show };
}

function lineOf([name, payload], now) {
  const said = Object.entries(payload).filter(([key]) => !COMMON.has(key));
  const text = said.map(([key, value]) => `${key} ${oneLine(value, 120)}`).join(' · ');
  const node = el('div', {}, el('time', {}, moment(payload.timestamp, now)),
    el('span', { dir: 'auto' }, [`${payload.seq} ${oneLine(name, 40)}`, text].filter(Boolean).join(' · ')));
  if (name === 'job-failed') setAttribute(node, 'class', 'error');
  if (name === 'job-stalled') setAttribute(node, 'class', 'warn');
  return node;
}
