// The HTTP doors. An answer that is not 2xx, or none at all, is an ApiError in the server's words.

const WITHIN = 15_000;

export class ApiError extends Error {
  constructor({ code, message, retryable = false }, status = 0) {
    super(message);
    Object.assign(this, { code, retryable, status });
  }
}

async function ask(path, { method = 'GET', body } = {}) {
  const request = { method, headers: { accept: 'application/json' }, signal: AbortSignal.timeout(WITHIN), cache: 'no-store' };
  if (body !== undefined) {
    request.body = JSON.stringify(body);
    request.headers['content-type'] = 'application/json';
  }
  const response = await fetch(`/api/v1${path}`, request).catch((error) => { throw unreachable(error); });
  const answer = await response.json().catch(() => null);
  if (!response.ok) throw new ApiError(answer?.code ? answer : unworded(response), response.status);
  return answer;
}

function unreachable(error) {
  const late = error.name === 'TimeoutError';
  return new ApiError({ code: 'unreachable', retryable: true,
    message: late ? 'The server did not answer in time.' : 'The server cannot be reached.' });
}

function unworded({ status }) {
  return { code: `http-${status}`, message: `The server answered ${status}.`, retryable: status >= 500 };
}

const job = (jobId) => `/jobs/${encodeURIComponent(jobId)}`;

export const submit = (request) => ask('/jobs', { method: 'POST', body: request });
export const cancel = (jobId) => ask(job(jobId), { method: 'DELETE' });
export const retry = (jobId) => ask(`${job(jobId)}/retry`, { method: 'POST' });
export const promote = (jobId) => ask(`${job(jobId)}/promote`, { method: 'POST' });
export const remove = (jobId) => ask(`${job(jobId)}/remove`, { method: 'POST' });
export const details = (jobId) => ask(`${job(jobId)}/details`);
export const getJob = (jobId) => ask(job(jobId));
export const queues = async () => (await ask('/queues')).queues;
export const recent = async (queue) => (await ask(`/jobs?${new URLSearchParams({ queue, limit: 50 })}`)).jobs;

/** `what`: pause, resume, drain, clean, retry-failed. As many jobs a call as are done within our patience. */
export const operate = (queue, what, body) => ask(`/queues/${encodeURIComponent(queue)}/${what}`,
  { method: 'POST', body: what === 'pause' || what === 'resume' ? undefined : { limit: 500, ...body } });

/** The recorded events as `[event, payload]`. */
export async function history(jobId) {
  const answer = await ask(`${job(jobId)}/history`);
  const events = Array.isArray(answer) ? answer : answer.events;
  return events.map((entry) => (Array.isArray(entry) ? entry : [entry.event, entry]));
}
