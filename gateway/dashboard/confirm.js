// Asks before what cannot be undone. The browser's own dialog keeps the focus, closes on Escape and is read out.

import { el } from './dom.js';

let built = 0;

/**
 * The values of `fields` by key, or null for no. A field is `{key, label, choices: [[value, text], …]}`, or an input's
 * `{key, label, type, …attributes}`.
 */
export function ask({ title, text, verb, fields = [] }) {
  const id = `ask-${++built}`;
  const inputs = fields.map((field) => fieldOf(field, id));
  const dialog = el('dialog', { 'aria-labelledby': id, 'aria-describedby': `${id}-text` });
  const no = el('button', { type: 'button', autofocus: true, onclick: () => dialog.close() }, 'Leave it');
  dialog.append(el('form', { method: 'dialog' },
    el('h2', { id }, title), el('p', { id: `${id}-text` }, text), ...inputs.map(({ node }) => node),
    el('div', { class: 'answers' }, no, el('button', { class: 'danger', value: 'yes' }, verb))));
  document.body.append(dialog);
  return new Promise((resolve) => {
    dialog.addEventListener('close', () => {
      dialog.remove();
      resolve(dialog.returnValue === 'yes' ? Object.fromEntries(inputs.map(({ key, value }) => [key, value()])) : null);
    });
    dialog.showModal();
  });
}

function fieldOf({ key, label, choices, type, ...attributes }, owner) {
  const id = `${owner}-${key}`;
  if (choices) {
    const select = el('select', { id }, ...choices.map(([value, text]) => el('option', { value }, text)));
    return { key, value: () => select.value, node: labelled(id, label, select) };
  }
  const input = el('input', { id, type, ...attributes });
  if (type !== 'checkbox') return { key, value: () => input.valueAsNumber, node: labelled(id, label, input) };
  return { key, value: () => input.checked, node: el('div', { class: 'check' }, input, el('label', { for: id }, label)) };
}

function labelled(id, label, input) {
  return el('div', { class: 'field' }, el('label', { for: id }, label), input);
}
