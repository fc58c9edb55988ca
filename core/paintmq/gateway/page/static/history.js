// The user's own tasks: those of this page at once, earlier ones from the service.

import * as gateway from "./gateway.js";

const $ = (id) => document.getElementById(id);
const MOST = 24;
const kept = new Map();

export async function loadHistory(open) {
  let told;
  try { told = await gateway.read(`v1/tasks?limit=${MOST}`); } catch { return; }
  for (const task of [...told.tasks].reverse()) if (!kept.has(task.id)) add(task, open);
}

export async function addToHistory({ id, model, after }, open) {
  add({ id, model, state: "succeeded" }, open);
  await show(kept.get(id), after);
}

function add(task, open) {
  const item = document.createElement("li"), button = document.createElement("button");
  const state = document.createElement("span"), name = document.createElement("span");
  state.className = "state";
  state.textContent = task.state;
  name.textContent = task.model;
  button.append(state, name);
  button.setAttribute("aria-label", `${task.model}: ${task.state}. Show it`);
  item.append(button);
  $("history").prepend(item);
  $("no-history").hidden = true;
  const entry = { task, button, state, after: null };
  kept.set(task.id, entry);
  button.disabled = task.state !== "succeeded";
  button.addEventListener("click", async () => {
    if (!entry.after) {
      try { await show(entry, await gateway.result(task.id)); } catch (error) {
        state.textContent = error.status === 410 || error.status === 404 ? "no longer kept" : error.message;
        return;
      }
    }
    open({ after: entry.after, model: task.model });
  });
  while (kept.size > MOST) drop(kept.keys().next().value);
}

async function show(entry, after) {
  if (!after) return;
  entry.after = after;
  const image = document.createElement("img");
  image.alt = "";
  image.src = URL.createObjectURL(after);
  entry.state.replaceWith(image);
  entry.state = image;
}

function drop(id) {
  const entry = kept.get(id);
  if (entry.state.src) URL.revokeObjectURL(entry.state.src);
  entry.button.parentElement.remove();
  kept.delete(id);
}
