// One WebSocket to the gateway that comes back when it is lost, and says at any time how it stands.

import { backoff } from './backoff.js';

const HELLO_WITHIN = 10_000;
const ANSWER_WITHIN = 10_000;
const PROBE_AFTER = 15_000;
const STALE_AFTER = 5_000;
const DEAD_AFTER = 15_000;
const STEADY_AFTER = 10_000;

export class CallError extends Error {
  constructor({ code, message, retryable = false }) {
    super(message);
    this.code = code;
    this.retryable = retryable;
  }
}

/**
 * `onState({kind, at?, reason?})`, kind: connecting, live, stale, reconnecting (a try at `at`), offline (the browser says
 * there is no network; tried all the same). `onMessage(event, payload)` for all but answers to calls.
 */
export class Connection {
  constructor({ url, onState, onMessage }) {
    Object.assign(this, { url, onState, onMessage });
    this.socket = null;
    this.calls = new Map();
    this.lastCall = 0;
    this.tries = 0;
    this.heardAt = 0;
    this.state = { kind: 'connecting' };
    this.feed = 'current';
    this.timers = {};
  }

  start() {
    addEventListener('online', () => this.retryNow());
    addEventListener('offline', () => this.probe());
    // A sleeping tab's timers sleep too: on waking, ask at once instead of showing what was true an hour ago.
    document.addEventListener('visibilitychange', () => document.hidden || this.probe());
    this.open();
  }

  open() {
    this.say({ kind: 'connecting' });
    const socket = new WebSocket(this.url);
    this.socket = socket;
    socket.addEventListener('message', (message) => socket === this.socket && this.hear(message.data));
    socket.addEventListener('close', (closed) => socket === this.socket && this.lose(reasonOf(closed)));
    this.later('hello', HELLO_WITHIN, () => this.giveUp('no greeting from the server'));
  }

  retryNow() {
    if (this.state.kind !== 'reconnecting' && this.state.kind !== 'offline') return;
    this.forget('retry');
    this.open();
  }

  hear(data) {
    this.heardAt = performance.now();
    const message = parse(data);
    if (!message) return;
    const [event, payload] = message;
    if (event === 'ack') return this.answer(payload);
    if (event === 'connected') this.greet();
    if (event === 'feed-status') return this.feedIs(payload.status);
    this.onMessage(event, payload);
  }

  greet() {
    this.forget('hello');
    this.later('steady', STEADY_AFTER, () => { this.tries = 0; });
    this.feed = 'current';
    this.say({ kind: 'live' });
    this.watchSilence();
  }

  // The gateway answers and says itself that it hears nothing new from Redis.
  feedIs(status) {
    this.feed = status;
    if (!this.timers.verdict) this.trust();
  }

  // A link can die without a word (a laptop lid, a mobile network). The browser shows no pings, so silence is broken
  // by a question that any server must answer.
  watchSilence() {
    this.later('silence', 1000, () => {
      const silent = performance.now() - this.heardAt;
      if (silent > PROBE_AFTER) this.probe();
      this.watchSilence();
    });
  }

  probe() {
    if (this.timers.verdict || (this.state.kind !== 'live' && this.state.kind !== 'stale')) return;
    this.later('doubt', STALE_AFTER, () => this.say({ kind: 'stale' }));
    this.later('verdict', DEAD_AFTER, () => this.giveUp('the server stopped answering'));
    this.call('get-subscriptions', {}, DEAD_AFTER * 2).catch(() => {}).finally(() => this.trust());
  }

  trust() {
    this.forget('doubt');
    this.forget('verdict');
    const kind = this.feed === 'stale' ? 'stale' : 'live';
    const connected = this.state.kind === 'live' || this.state.kind === 'stale';
    if (connected && this.state.kind !== kind) this.say({ kind });
  }

  /** Ask and wait for the answer; a refusal, silence or a lost connection is a CallError. */
  call(event, payload, within = ANSWER_WITHIN) {
    const id = ++this.lastCall;
    return new Promise((resolve, reject) => {
      if (this.socket?.readyState !== WebSocket.OPEN) return reject(lost());
      const timer = setTimeout(() => {
        this.calls.delete(id);
        reject(new CallError({ code: 'no-answer', message: `The server did not answer ${event} in time.`, retryable: true }));
      }, within);
      this.calls.set(id, { resolve, reject, timer });
      this.socket.send(JSON.stringify([event, payload, id]));
    });
  }

  answer({ id, ...answer }) {
    const call = this.calls.get(id);
    if (!call) return;
    this.calls.delete(id);
    clearTimeout(call.timer);
    if (answer.ok === false || (answer.code && !answer.ok)) call.reject(new CallError(answer));
    else call.resolve(answer);
  }

  giveUp(reason) {
    const { socket } = this;
    this.lose(reason);
    socket.close();
  }

  lose(reason) {
    this.socket = null;
    Object.keys(this.timers).forEach((name) => this.forget(name));
    for (const { reject, timer } of this.calls.values()) {
      clearTimeout(timer);
      reject(lost());
    }
    this.calls.clear();
    const wait = backoff(this.tries++);
    this.later('retry', wait, () => this.open());
    this.say({ kind: navigator.onLine ? 'reconnecting' : 'offline', at: Date.now() + wait, reason });
  }

  say(state) {
    this.state = state;
    this.onState(state);
  }

  later(name, ms, action) {
    this.forget(name);
    this.timers[name] = setTimeout(() => { delete this.timers[name]; action(); }, ms);
  }

  forget(name) {
    clearTimeout(this.timers[name]);
    delete this.timers[name];
  }
}

function lost() {
  return new CallError({ code: 'not-connected', message: 'The connection is down.', retryable: true });
}

function reasonOf({ code, reason }) {
  if (reason) return reason;
  return { 1001: 'the server is going away', 1006: 'no connection', 1012: 'the server restarts', 1013: 'the server is busy' }[code]
    ?? `closed with code ${code}`;
}

/** `[event, payload]`, or nothing if it is not that: one bad frame must not end the page. */
function parse(data) {
  try {
    const message = JSON.parse(data);
    if (Array.isArray(message) && typeof message[0] === 'string' && message[1] && typeof message[1] === 'object') return message;
  } catch {
    // Falls through: told in the console, below.
  }
  console.warn('Ignored a frame that is no [event, payload].');
  return null;
}
