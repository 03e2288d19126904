// Watches one job with socket.io-client and prints each event as a line of JSON, until the job is over.
// usage: watch.js '{"url", "path", "namespace", "transports", "jobId", "since"?, "client"?}'
const options = JSON.parse(process.argv[2]);
const { io } = await import(options.client ?? "socket.io-client");

const socket = io(options.url + options.namespace, { path: options.path, transports: options.transports });
const over = (name, payload) =>
  name === "job-completed" || name === "job-cancelled" || (name === "job-failed" && payload.final);

socket.onAny((name, payload) => {
  console.log(JSON.stringify([name, payload]));
  if (over(name, payload)) setTimeout(() => socket.disconnect(), 200);
});
socket.on("connect", () => {
  const request = { jobId: options.jobId, ...(options.since && { since: options.since }) };
  socket.emit("subscribe-to-job", request, (answer) => console.log(JSON.stringify(["answer", answer])));
});
socket.on("connect_error", (error) => {
  console.error(error.message);
  process.exit(1);
});
