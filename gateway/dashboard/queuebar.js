// What an operator sees of a queue beside its counts, and does to it.

import { ask } from './confirm.js';
import { el, setAttribute, setHidden, setText } from './dom.js';
import { count, oneLine, refusal } from './format.js';

const MOST_STUCK = 5;
const jobs = (number) => `${count(number)} ${number === 1 ? 'job' : 'jobs'}`;

// What is asked before: the body to send, or null when the answer was no.
const ASKED = {
  __proto__: null,
  'retry-failed': (name, { failed = 0 }) => ask({
    title: `Retry the failed jobs of ${name}?`, verb: 'Retry them',
    text: `${jobs(failed)} failed. Each is queued once more, as a new attempt; cancelled ones stay as they are.`,
  }),
  clean: async (name) => {
    const given = await ask({
      title: `Clean ${name}?`, verb: 'Forget them',
      text: 'Its queue forgets jobs that ended long ago: they can be tried again no more. Their history expires by itself.',
      fields: [
        { key: 'state', label: 'Which jobs', choices: [['completed', 'completed'], ['failed', 'failed']] },
        { key: 'hours', label: 'Ended more than so many hours ago', type: 'number', min: 0, max: 100_000, step: 'any',
          placeholder: '24 for completed, 168 for failed' },
      ],
    });
    return given && { state: given.state, ...(Number.isFinite(given.hours) ? { olderThan: given.hours * 3600 } : {}) };
  },
  drain: (name) => ask({
    title: `Drain ${name}?`, verb: 'Cancel them',
    text: 'Every job that waits is cancelled. What runs goes on.',
    fields: [{ key: 'delayed', label: 'Those too that wait for their time', type: 'checkbox' }],
  }),
};

const DONE = {
  __proto__: null,
  'pause': () => 'Paused: workers take no further job.',
  'resume': () => 'Workers take jobs again.',
  'retry-failed': (answer) => `${jobs(answer.jobs)} tried again`,
  'clean': (answer) => `${jobs(answer.jobs)} forgotten`,
  'drain': (answer) => `${jobs(answer.jobs)} cancelled`,
};

/** A note on a queue as a sentence: `{what, answer}` or `{what, error}`. */
export function noteOf({ what, answer, error }) {
  if (error) return `Could not ${what.replace('-', ' ')}: ${refusal(error)}`;
  const more = [];
  if (answer.skipped > 0) more.push(`${count(answer.skipped)} left as they are`);
  if (answer.left > 0) more.push(`${count(answer.left)} more to do`);
  return [DONE[what](answer), ...more].join('; ');
}

export class QueueBar {
  /** `operate(what, body)`: have it done. */
  constructor(name, operate) {
    Object.assign(this, { name, operate, queue: null });
    this.standing = el('p', { class: 'standing', hidden: true });
    this.stuck = el('p', { class: 'standing', hidden: true });
    this.pause = this.button('Pause', () => this.press(this.queue?.paused ? 'resume' : 'pause'));
    this.retry = this.button('Retry failed', () => this.press('retry-failed'));
    this.clean = this.button('Clean', () => this.press('clean'));
    this.drain = this.button('Drain', () => this.press('drain'));
    this.tools = el('div', { 'class': 'tools', 'role': 'group', 'aria-label': `Operate queue ${name}` },
      this.pause, this.retry, this.clean, this.drain);
    this.note = el('p', { class: 'note', hidden: true });
  }

  button(text, onclick) {
    return el('button', { 'type': 'button', 'class': 'quiet', 'aria-label': `${text}: queue ${this.name}`, onclick }, text);
  }

  async press(what) {
    const body = ASKED[what] ? await ASKED[what](this.name, this.queue?.counts ?? {}) : {};
    if (body !== null) this.operate(what, body);
  }

  update(queue) {
    this.queue = queue;
    const { counts, paused, reasons = [], stuck = [], busy = null, note = null } = queue;
    setText(this.pause, paused ? 'Resume' : 'Pause');
    setAttribute(this.pause, 'aria-label', `${paused ? 'Resume' : 'Pause'}: queue ${this.name}`);
    setHidden(this.retry, !(counts?.failed > 0));
    setHidden(this.clean, !(counts?.failed > 0 || counts?.completed > 0));
    setHidden(this.drain, !(counts?.waiting > 0 || counts?.delayed > 0));
    for (const button of this.tools.children) if (button.disabled !== (busy !== null)) button.disabled = busy !== null;
    const words = [...(paused ? ['Paused: workers take no further job.'] : []), ...reasons.map((reason) => `${oneLine(reason)}.`)];
    setHidden(this.standing, words.length === 0);
    setText(this.standing, words.join(' '));
    this.list(stuck);
    setHidden(this.note, note === null);
    if (note) setText(this.note, noteOf(note));
    setAttribute(this.note, 'class', note?.error ? 'refused' : 'note');
  }

  list(stuck) {
    setHidden(this.stuck, stuck.length === 0);
    const ids = stuck.slice(0, MOST_STUCK).map(({ id }) => id);
    const key = JSON.stringify([stuck.length, ids]);
    if (key === this.listed) return;
    this.listed = key;
    this.stuck.replaceChildren(`${jobs(stuck.length)} stuck: `,
      ...ids.flatMap((id, index) => [index ? ', ' : '', el('a', { href: `#job=${encodeURIComponent(id)}` }, oneLine(id, 40))]),
      stuck.length > MOST_STUCK ? ', …' : '');
  }
}
