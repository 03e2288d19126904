// Wiring: the address says what is shown, the connection brings it, the store keeps it, the view draws it.

import { Announcer } from './announce.js';
import { Connection } from './connection.js';
import { el, setAttribute, setHidden, setText } from './dom.js';
import { oneLine, refusal } from './format.js';
import { noteOf } from './queuebar.js';
import { Store } from './store.js';
import { SubmitForm } from './submit.js';
import { Sync } from './sync.js';
import { View } from './view.js';

const JOB_ID = /^[A-Za-z0-9_.:-]{1,128}$/;

const page = Object.fromEntries(['jobs', 'connection', 'connection-text', 'retry-now', 'problem', 'announce', 'submit', 'panel', 'skip']
  .map((id) => [id, document.getElementById(id)]));

const announcer = new Announcer(page.announce);
const store = new Store();
const address = new URL('/ws', location.href);
address.protocol = location.protocol === 'https:' ? 'wss:' : 'ws:';
const connection = new Connection({ url: address, onState: showState, onMessage: (event, payload) => sync.hear(event, payload) });
const sync = new Sync({ connection, store, changed: () => view.changed(), known: sayEmpty, onProblem: showProblem });
const view = new View({
  place: page.jobs, store, now: () => Date.now() + sync.clockOffset,
  acts: {
    ...Object.fromEntries(['cancel', 'retry', 'promote', 'remove'].map((name) => [name, (jobId) => act(name, jobId)])),
    opened: (jobId) => redraw(jobId), earlier: (jobId) => sync.loadHistory(jobId), kept: (jobId) => sync.loadKept(jobId),
    operate,
  },
  finished: (jobs) => announcer.finished(jobs),
});

function redraw(jobId) {
  store.mark(jobId, {});
  view.changed();
}

function sayEmpty() {
  view.sayEmpty(el('h2', {}, 'No jobs yet'), el('p', {}, 'Submit one with the form, or with ', el('code', {}, 'jobcast submit'), '.'));
}

async function act(name, jobId) {
  await sync[name](jobId);
  const note = store.jobs.get(jobId)?.note;
  if (note) announcer.refused(note.what, note.error);
  else if (name === 'remove') announcer.say(`Job ${oneLine(jobId, 40)} removed.`);
}

async function operate(queueName, what, body) {
  announcer.say(`${oneLine(queueName, 64)}: ${noteOf(await sync.operate(queueName, what, body))}`);
}

// --- the connection, told honestly

const SAID = {
  connecting: () => 'Connecting …',
  live: () => 'Live',
  stale: () => 'Stale: no news',
  reconnecting: (seconds) => `Reconnecting in ${seconds} s`,
  offline: (seconds) => `Offline, next try in ${seconds} s`,
};

function showState(state) {
  const before = page.connection.dataset.kind;
  page.connection.dataset.kind = state.kind;
  document.body.dataset.link = state.kind;
  view.live = state.kind === 'live';
  setAttribute(page.connection, 'title', state.reason ? `Connection lost: ${oneLine(state.reason, 120)}` : null);
  setHidden(page['retry-now'], state.at === undefined);
  if (state.at !== undefined) sync.lost();
  tellState();
  if (before !== state.kind && state.kind !== 'connecting') announcer.say(`Connection: ${state.kind}.`);
}

function tellState() {
  const { kind, at } = connection.state;
  setText(page['connection-text'], SAID[kind](Math.max(0, Math.ceil((at - Date.now()) / 1000))));
}

function showProblem(problem) {
  setHidden(page.problem, problem === null);
  if (problem) setText(page.problem, `${problem.what}: ${refusal(problem.error)}`);
}

// --- what is shown

function route() {
  const jobId = wantedJob();
  if (jobId !== null && !JOB_ID.test(jobId)) return refuse(jobId);
  document.title = 'jobcast';
  showProblem(null);
  document.body.dataset.page = jobId === null ? 'queues' : 'job';
  sync.show(jobId);
  view.show(jobId);
}

function refuse(jobId) {
  sync.show(null);
  view.show(null);
  showProblem({ what: `“${oneLine(jobId, 60)}” cannot be opened`, error: { message: 'that is no job id.', code: 'bad-job-id' } });
}

function wantedJob() {
  if (!location.hash.startsWith('#job=')) return null;
  try {
    return decodeURIComponent(location.hash.slice(5));
  } catch {
    return location.hash.slice(5);
  }
}

new SubmitForm({ form: page.submit, send: (request) => sync.submit(request) });
page['retry-now'].addEventListener('click', () => connection.retryNow());
page.skip.addEventListener('click', (event) => { event.preventDefault(); page.jobs.focus(); });
page.panel.open = matchMedia('(min-width: 60rem)').matches;
view.sayEmpty(el('p', {}, 'Asking which jobs there are …'));
addEventListener('hashchange', route);
setInterval(tellState, 500);
connection.start();
sync.start();
route();
