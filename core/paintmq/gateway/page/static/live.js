// News of one's own tasks by WebSocket, for as long as somebody waits for some. Who is cut off, by a
// restart or a network, comes back by itself and goes on where it was; meanwhile the page asks.

import { root } from "./gateway.js";

const PAUSES = [0.3, 1, 2, 5];
const waiting = new Map();  // id -> { latest, wake }
let socket = null, isOpen = false, failures = 0, timer = null, feed = "", number = 0;

export const isLive = () => isOpen;

export function watch(id) {
  waiting.set(id, { latest: null, wake: null });
  if (isOpen) tell({ subscribe: [id], previews: true }); else connect();
}

export function unwatch(id) {
  waiting.delete(id);
  if (isOpen) tell({ unsubscribe: [id] });
  if (!waiting.size && socket) socket.close(1000);
}

// The latest news of a task that were not taken yet; null: none came within so many seconds.
export function next(id, seconds) {
  const entry = waiting.get(id);
  return new Promise((done) => {
    const end = setTimeout(() => { entry.wake = null; done(take(entry)); }, seconds * 1000);
    entry.wake = () => { clearTimeout(end); entry.wake = null; done(take(entry)); };
    if (entry.latest) entry.wake();
  });
}

function take(entry) {
  const { latest } = entry;
  entry.latest = null;
  return latest;
}

const tell = (message) => socket.send(JSON.stringify(message));

function connect() {
  if (socket || timer) return;
  const at = new URL("v1/ws", root);
  at.protocol = at.protocol === "https:" ? "wss:" : "ws:";
  try { socket = new WebSocket(at); } catch { return later(); }
  socket.addEventListener("open", () => {
    isOpen = true;
    failures = 0;
    if (feed) tell({ resume: { feed, number } });
    tell({ subscribe: [...waiting.keys()], previews: true });
  });
  socket.addEventListener("message", (event) => hear(JSON.parse(event.data)));
  socket.addEventListener("close", () => {
    socket = null;
    isOpen = false;
    for (const entry of waiting.values()) entry.wake?.();  // it asks instead
    if (waiting.size) later();
  });
}

function later() {
  const seconds = PAUSES[Math.min(failures, PAUSES.length - 1)];
  failures += 1;
  timer = setTimeout(() => { timer = null; if (waiting.size) connect(); }, seconds * 1000);
}

function hear(message) {
  if (message.type !== "task") return;
  if (message.feed !== feed) number = 0;
  feed = message.feed;
  number = Math.max(number, message.number);
  const entry = waiting.get(message.id);
  if (!entry) return;
  entry.latest = { ...message, preview: message.preview ?? entry.latest?.preview };
  entry.wake?.();
}
