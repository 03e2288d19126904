// The form: typed fields for the handlers that ship with jobcast, and JSON for any other job.

import { el, setHidden } from './dom.js';
import { refusal } from './format.js';

const QUEUE_NAME = '[A-Za-z0-9_.\\-]{1,64}';

const HANDLERS = {
  'simulate': { queue: 'demo', about: 'Pretends to work, for trying things out.', fields: [
    { key: 'steps', label: 'Steps', type: 'number', min: 1, step: 1, value: 20, required: true },
    { key: 'duration', label: 'Duration', unit: 's', type: 'number', min: 0, step: 'any', value: 15, required: true },
    { key: 'failAt', label: 'Fail at step', type: 'number', min: 1, step: 1, placeholder: 'never' },
    { key: 'logEvery', label: 'Log every', unit: 'steps', placeholder: 'never', type: 'number', min: 1, step: 1, value: 5 },
  ] },
  'checksum-tree': { queue: 'files', about: 'Hashes every file below a directory.', fields: [
    { key: 'path', label: 'Directory', type: 'text', placeholder: '/srv/data', required: true, wide: true,
      hint: 'On the worker’s machine, below its file roots.' },
  ] },
  'import-csv': { queue: 'files', about: 'Reads a CSV file into an SQLite table.', fields: [
    { key: 'path', label: 'CSV file', type: 'text', placeholder: '/srv/data/orders.csv', required: true, wide: true },
    { key: 'database', label: 'SQLite file', type: 'text', placeholder: '/srv/data/orders.db', required: true, wide: true },
    { key: 'table', label: 'Table', type: 'text', placeholder: 'orders', required: true },
    { key: 'delimiter', label: 'Delimiter', type: 'text', maxlength: 1, placeholder: ',' },
  ] },
  'custom': { about: 'Any queue, any job.', fields: [
    { key: 'queue', label: 'Queue', type: 'text', pattern: QUEUE_NAME, required: true,
      title: 'Letters, digits, “_”, “.” and “-”; at most 64' },
    { key: 'name', label: 'Job name', type: 'text', required: true },
    { key: 'data', label: 'Data', type: 'json', value: '{}', wide: true, hint: 'JSON' },
  ] },
};

const OPTIONS = [
  { key: 'attempts', label: 'Attempts', type: 'number', min: 1, step: 1, placeholder: '1' },
  { key: 'delay', label: 'Start after', unit: 's', type: 'number', min: 0, step: 'any', placeholder: '0' },
];

export class SubmitForm {
  /** `send(request)` gives `{jobId}` or throws what the server answered. */
  constructor({ form, send }) {
    Object.assign(this, { form, send });
    this.handler = form.querySelector('select');
    this.about = form.querySelector('.about');
    this.fields = form.querySelector('.fields');
    this.options = form.querySelector('.options');
    this.outcome = form.querySelector('.outcome');
    this.button = form.querySelector('button[type=submit]');
    this.handler.replaceChildren(...Object.entries(HANDLERS).map(([name, { queue }]) =>
      el('option', { value: name }, queue ? `${name} (${queue})` : `${name} …`)));
    this.options.replaceChildren(...OPTIONS.map((field) => fieldOf(field)));
    this.handler.addEventListener('change', () => this.choose());
    form.addEventListener('submit', (event) => { event.preventDefault(); this.submit(); });
    this.choose();
  }

  choose() {
    const { fields, about } = HANDLERS[this.handler.value];
    this.about.textContent = about;
    this.fields.replaceChildren(...fields.map((field) => fieldOf(field)));
    this.say(null);
  }

  async submit() {
    if (this.button.disabled) return;
    const request = this.request();
    if (!request) return;
    this.button.disabled = true;
    this.say(null);
    try {
      const { jobId } = await this.send(request);
      this.say('done', 'Submitted: ', el('a', { href: `#job=${encodeURIComponent(jobId)}` }, jobId));
    } catch (error) {
      this.say('refused', refusal(error));
    }
    this.button.disabled = false;
  }

  /** What to send, or nothing when a field does not parse (said beside the form). */
  request() {
    try {
      const name = this.handler.value;
      const { attempts, delay } = read(this.options, OPTIONS);
      const opts = { ...(attempts && { attempts }), ...(delay && { delay: Math.round(delay * 1000) }) };
      const data = read(this.fields, HANDLERS[name].fields);
      const what = name === 'custom' ? data : { queue: HANDLERS[name].queue, name, data };
      return Object.keys(opts).length ? { ...what, opts } : what;
    } catch (error) {
      this.say('refused', error.message);
      return null;
    }
  }

  say(kind, ...content) {
    setHidden(this.outcome, kind === null);
    this.outcome.dataset.kind = kind ?? '';
    this.outcome.replaceChildren(...content);
  }
}

function fieldOf({ key, label, unit, type, value, hint, wide, ...rest }) {
  const id = `field-${key}`;
  const described = hint ? { 'aria-describedby': `${id}-hint` } : {};
  const input = type === 'json'
    ? el('textarea', { id, name: key, rows: 5, spellcheck: 'false', ...described }, value)
    : el('input', { id, name: key, type, value, autocomplete: 'off', spellcheck: 'false', autocapitalize: 'off', ...described, ...rest });
  return el('div', { class: wide ? 'field wide' : 'field' },
    el('label', { for: id }, label, el('small', {}, unit ? ` ${unit}` : '')), input,
    ...(hint ? [el('small', { id: `${id}-hint` }, hint)] : []));
}

/** The filled-in fields, each in its own type; an empty one is left out, so that the handler's default holds. */
function read(place, fields) {
  const data = {};
  for (const { key, label, type } of fields) {
    const { value } = place.querySelector(`[name="${key}"]`);
    if (value === '') continue;
    data[key] = type === 'number' ? Number(value) : type === 'json' ? json(label, value) : value;
  }
  return data;
}

function json(label, text) {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Error(`${label} is not JSON: ${error.message}`);
  }
}
