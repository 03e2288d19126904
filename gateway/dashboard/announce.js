// Spoken news, for screen readers. A queue that finishes fifty jobs a second must not talk without end: news is
// gathered and said in one sentence, at most every few seconds.

import { oneLine, refusal } from './format.js';
import { setText } from './dom.js';

const GATHER = 3000;

export class Announcer {
  constructor(region) {
    this.region = region;
    this.news = [];
    this.timer = null;
  }

  say(text) {
    this.news.push({ text });
    this.soon();
  }

  finished(jobs) {
    for (const { jobId, name, state } of jobs) this.news.push({ state, text: `${oneLine(name ?? 'job', 60)} ${oneLine(jobId, 40)} ${state}.` });
    if (jobs.length) this.soon();
  }

  refused(what, error) {
    this.say(`Could not ${what}: ${refusal(error)}`);
  }

  soon() {
    this.timer ??= setTimeout(() => { this.timer = null; this.speak(); }, GATHER);
  }

  speak() {
    const told = this.news.filter(({ state }) => !state).map(({ text }) => text);
    const ended = this.news.filter(({ state }) => state);
    this.news = [];
    setText(this.region, [...new Set(told), ...(ended.length > 3 ? [summary(ended)] : ended.map(({ text }) => text))].join(' '));
  }
}

function summary(ended) {
  const tally = new Map();
  for (const { state } of ended) tally.set(state, (tally.get(state) ?? 0) + 1);
  return `${[...tally].map(([state, number]) => `${number} ${state}`).join(', ')}.`;
}
