// A front end as they were written before jobcast: four handlers, a subscription without acknowledgement, no numbers.
// usage: classic.js <url> <job id>
import { io } from "socket.io-client";

const [url, jobId] = process.argv.slice(2);
const socket = io(`${url}/job-progress`, { path: "/socket.io/jobs/", transports: ["websocket"] });

socket.on("connect", () => socket.emit("subscribe-to-job", { jobId }));
socket.on("job-queue-to-start", (data) => console.log(JSON.stringify(["job-queue-to-start", data])));
socket.on("job-progress", (data) => console.log(JSON.stringify(["job-progress", data])));
for (const name of ["job-completed", "job-failed"]) {
  socket.on(name, (data) => {
    console.log(JSON.stringify([name, data]));
    socket.disconnect();
  });
}
