// Service: what goes on, for admins; queues, nodes and workers, tasks, and dead letters.

import * as gateway from "./gateway.js";

const LOOK_SECONDS = 2;
const KEPT = 60;
const done = [];
let shown = false, section, timer, looking = false;

export function startService(at) { section = at; build(); }

export function showService(is) {
  shown = is;
  clearTimeout(timer);
  if (is) look();
}

function element(kind, fields = {}, ...inside) {
  const made = Object.assign(document.createElement(kind), fields);
  made.append(...inside);
  return made;
}

function build() {
  const card = (id, title) => element("section", { className: "card", id }, element("h2", { textContent: title }));
  const table = (id, title, heads) => {
    const head = element("tr", {}, ...heads.map((text) => element("th", { textContent: text, scope: "col" })));
    const made = card(`${id}-card`, title);
    const scroll = element("div", { className: "scroll", tabIndex: 0 });
    scroll.setAttribute("role", "region");
    scroll.setAttribute("aria-label", title);
    scroll.append(element("table", {}, element("thead", {}, head), element("tbody", { id })));
    made.append(scroll, element("p", { className: "quiet small", id: `no-${id}`, textContent: "None." }));
    return made;
  };
  const figures = element("div", { className: "figures", id: "figures" });
  section.replaceChildren(
    element("p", { id: "trouble", className: "error", hidden: true, role: "alert" }),
    figures,
    table("queues", "Queues", ["Queue", "State", "Waiting", "Running", "Oldest wait", "Workers", "Done", "Failed, dead", ""]),
    table("nodes", "Nodes", ["Node", "State", "Workers", "Running", "Devices", "Protocol", ""]),
    table("workers", "Workers", ["Worker", "Device", "Models in memory", "Running", "State", ""]),
    table("running", "Unfinished tasks", ["Task", "Model", "State", "Queue", "Worker", "Age", ""]),
    table("dead", "Dead letters", ["Task", "Model", "Reason", "Attempts", ""]),
    element("p", { id: "versions", className: "quiet small" }),
  );
}

async function look() {
  if (!shown || looking) return;
  looking = true;
  try {
    const [statistics, { queues }, { workers }, tasks, dead, versions] = await Promise.all([
      gateway.read("v1/statistics"), gateway.read("v1/queues"), gateway.read("v1/workers"),
      gateway.read("v1/tasks?limit=200"), gateway.read("v1/dead"), gateway.read("v1/version"),
    ]);
    trouble(null);
    showQueues(Object.values(statistics.queues), queues);
    showNodes(workers);
    showWorkers(workers);
    section.querySelector("#versions").textContent = `Broker ${versions.broker}, gateway ${versions.gateway}, protocol ${versions.protocol}`;
    showTasks(tasks.tasks.filter((each) => ["queued", "leased", "loading", "running"].includes(each.state)));
    showDead(dead.tasks);
  } catch (error) { trouble(error); }
  looking = false;
  clearTimeout(timer);
  if (shown) timer = setTimeout(look, LOOK_SECONDS * 1000);
}

const sum = (rows, name) => rows.reduce((all, row) => all + (row[name] ?? 0), 0);

export function seconds(value) {
  if (!value) return "–";
  if (value < 1) return `${Math.round(value * 1000)} ms`;
  if (value < 90) return `${value.toFixed(value < 10 ? 1 : 0)} s`;
  return value < 5400 ? `${Math.round(value / 60)} min` : `${Math.round(value / 3600)} h`;
}

function rows(id, items, cells) {
  const body = section.querySelector(`#${id}`);
  // The rows are made anew: the focus goes to the button that does the same as before.
  const focused = body.contains(document.activeElement) && document.activeElement.getAttribute("aria-label");
  body.replaceChildren(...items.map((item) => {
    const row = element("tr", {});
    for (const cell of cells(item)) row.append(element("td", {}, cell instanceof Node ? cell : String(cell ?? "")));
    return row;
  }));
  if (focused) body.querySelector(`[aria-label="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
  section.querySelector(`#no-${id}`).hidden = items.length > 0;
  body.closest("table").hidden = items.length === 0;
}

function showQueues(queues, states) {
  done.push({ at: performance.now() / 1000, count: sum(queues, "succeeded") });
  if (done.length > KEPT) done.shift();
  const past = done[0], now = done.at(-1);
  const rate = now.at > past.at ? (now.count - past.count) / (now.at - past.at) : 0;
  const oldest = Math.max(0, ...queues.map((each) => each.oldest_wait ?? 0));
  const figures = [
    ["Waiting", sum(queues, "waiting")], ["Running", sum(queues, "running")],
    ["Done a second", rate.toFixed(rate < 10 ? 2 : 0)], ["Longest wait", seconds(oldest)],
    ["Workers", sum(queues, "workers")], ["Done in all", sum(queues, "succeeded").toLocaleString()],
  ];
  section.querySelector("#figures").replaceChildren(...figures.map(([name, value]) =>
    element("div", { className: "figure" }, element("strong", { textContent: value }), element("span", { textContent: name }))));
  rows("queues", queues, (queue) => {
    const state = states[queue.name]?.state ?? "removed";
    return [
      queue.name, SAID[state] ?? state, queue.waiting, queue.running, seconds(queue.oldest_wait), queue.workers,
      queue.succeeded, queue.failed + queue.dead, state === "removed" ? "" : queueButtons(queue, state),
    ];
  });
}

const SAID = { open: "open", paused: "paused: starts nothing", draining: "drains: takes nothing", removed: "removed" };

function queueButtons({ name, waiting }, state) {
  const change = (what) => () => gateway.ask("POST", `v1/queues/${what}?name=${encodeURIComponent(name)}`);
  const buttons = [];
  if (state === "open") {
    buttons.push(action("Pause", `queue ${name}`, change("pause")), action("Drain", `queue ${name}`, change("drain")));
  } else buttons.push(action("Resume", `queue ${name}`, change("resume")));
  if (waiting) buttons.push(action("Purge", `queue ${name}`, change("purge"), `Cancel what waits in ${name}?`));
  return element("span", { className: "pair" }, ...buttons);
}

function action(label, name, act, ask = "") {
  const button = element("button", { textContent: label });
  button.setAttribute("aria-label", `${label} ${name}`);
  button.addEventListener("click", async () => {
    if (ask && !confirm(ask)) return;
    button.disabled = true;
    try { await act(); } catch (error) { trouble(error); }
    look();
  });
  return button;
}

const about = (what, name) => () => gateway.ask("POST", `v1/workers/${what}?name=${encodeURIComponent(name)}`);
const workerState = (worker) => worker.draining ? "draining" : worker.cordoned ? "cordoned" : worker.trouble || "ready";

// What an admin may have a worker, or all of a node, do.
function orders(kind, name, cordoned, draining) {
  if (draining) return "";
  const label = `${kind} ${name}`;
  return element("span", { className: "pair" },
    cordoned ? action("Uncordon", label, about("uncordon", name)) : action("Cordon", label, about("cordon", name)),
    action("Drain", label, about("drain", name), `Let ${name} finish what it has, and leave?`));
}

function showNodes(workers) {
  rows("nodes", [...grouped(workers)], ([name, own]) => {
    const cordoned = own.every((each) => each.cordoned), draining = own.every((each) => each.draining);
    return [
      name || "–", draining ? "draining" : cordoned ? "cordoned" : "ready", own.length,
      own.reduce((all, each) => all + each.running.length, 0),
      [...new Set(own.map((each) => each.device_name || each.device))].join(", "),
      [...new Set(own.map((each) => each.protocol))].join(", "),
      name ? orders("node", name, cordoned, draining) : "",
    ];
  });
}

function grouped(workers) {
  const found = new Map();
  for (const each of workers) found.set(each.node, [...(found.get(each.node) ?? []), each]);
  return found;
}

function showWorkers(workers) {
  rows("workers", workers, (worker) => [
    worker.name,
    `${worker.device_name || worker.device}${worker.gpu_memory_mb ? `, ${Math.round(worker.gpu_memory_mb / 1024)} GB` : ""}`,
    worker.resident.join(", ") || "–",
    worker.running.length || "–",
    workerState(worker),
    orders("worker", worker.name, worker.cordoned, worker.draining),
  ]);
}

const short = (id) => element("code", { textContent: id.slice(-8), title: id });

function showTasks(tasks) {
  rows("running", tasks, (task) => [
    short(task.id), task.model, task.state, task.queue, task.worker || "–", seconds(task.age),
    action("Cancel", `task ${task.id.slice(-8)}`, () => gateway.cancel(task.id)),
  ]);
}

function showDead(tasks) {
  rows("dead", tasks, (task) => {
    const name = `task ${task.id.slice(-8)}`;
    return [
      short(task.id), task.model, task.reason ?? "", task.attempts,
      element("span", { className: "pair" },
        action("Requeue", name, () => gateway.ask("POST", `v1/dead/${task.id}/requeue`)),
        action("Drop", name, () => gateway.ask("DELETE", `v1/dead/${task.id}`), `Forget ${name} and its pictures?`)),
    ];
  });
}

function trouble(error) {
  const place = section.querySelector("#trouble");
  place.hidden = !error;
  place.textContent = error?.message ?? "";
}
