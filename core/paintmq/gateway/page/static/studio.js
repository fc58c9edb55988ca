// Studio: a picture, a mask, a model; run it, watch it, look at the result, go on with it.

import * as gateway from "./gateway.js";
import { hideComparison, showComparison } from "./compare.js";
import { OptionsForm } from "./form.js";
import * as live from "./live.js";
import { addToHistory, loadHistory } from "./history.js";
import { Painter } from "./painter.js";

const $ = (id) => document.getElementById(id);
const LOOK_SECONDS = 0.4, PLACE_SECONDS = 2, QUIET_SECONDS = 10;
const ENDED = ["succeeded", "failed", "cancelled", "expired", "dead"];
const MOST_BYTES = 64 * 2 ** 20;
const state = { models: [], model: null, file: null, name: "picture", task: null, result: null };
const form = new OptionsForm($("options"));
const painter = new Painter($("view"), update);

export async function startStudio() {
  listen();
  try {
    state.models = (await gateway.models()).filter((each) => each.inputs.some((input) => input.name === "image"));
  } catch (error) { fail(error); return; }
  for (const [label, served] of [["Ready", true], ["No worker has these now", false]]) {
    const group = Object.assign(document.createElement("optgroup"), { label });
    for (const model of state.models) if (model.served === served) group.append(new Option(model.name, model.name));
    if (group.children.length) $("model").append(group);
  }
  const wished = localStorage.getItem("model");
  $("model").value = state.models.some((each) => each.name === wished) ? wished : firstChoice();
  choose();
  loadHistory(open);
}

// An eraser without weights is sure to run; what needs a download is one choice away.
const firstChoice = () => (state.models.find((each) => each.name === "opencv") ?? state.models[0])?.name ?? "";
const takesMask = () => Boolean(state.model?.inputs.some((each) => each.name === "mask"));
const needsMask = () => Boolean(state.model?.inputs.some((each) => each.name === "mask" && each.required));

function choose() {
  state.model = state.models.find((each) => each.name === $("model").value) ?? null;
  if (!state.model) return;
  localStorage.setItem("model", state.model.name);
  $("summary").textContent = state.model.summary + (state.model.served ? "" : " No worker that is connected has it: its tasks would wait.");
  form.show(state.model);
  update();
}

function update() {
  const ready = Boolean(state.file && state.model) && !state.task;
  $("run").disabled = !ready || (needsMask() && painter.isEmpty);
  document.querySelector(".tools").hidden = !state.file || Boolean(state.result);
  $("run").textContent = ready && needsMask() && painter.isEmpty ? "Paint a mask first" : "Run";
  $("undo").disabled = $("clear").disabled = painter.isEmpty;
  $("zoom").textContent = `${Math.round(painter.view.scale * 100)} %`;
  for (const id of ["brush", "eraser", "invert"]) $(id).disabled = !takesMask();
}

// ---- pictures ----------------------------------------------------------------------------------

export async function take(file, name = file.name) {
  if (file.size > MOST_BYTES) return fail(new Error(`${name} has ${Math.ceil(file.size / 2 ** 20)} MiB; 64 are allowed.`));
  let image;
  try { image = await createImageBitmap(file); } catch {
    return fail(new Error(`${name} is no picture that this browser can show.`));
  }
  state.file = file;
  state.name = (name || "picture").replace(/\.[^.]*$/, "").slice(0, 80);
  fail(null);
  back();
  $("drop").hidden = true;
  painter.show(image);
  $("view").focus({ preventScroll: true });
}

function back() {
  state.result = null;
  hideComparison();
  $("result").hidden = $("preview").hidden = true;
  $("view").hidden = !state.file;
  update();
}

// ---- running -----------------------------------------------------------------------------------

async function run() {
  const options = form.read();
  if ($("run").disabled || options === null) return;
  const model = state.model, before = state.file;
  fail(null);
  back();
  state.task = { id: null, cancelled: false };
  working(true);
  try {
    const inputs = { image: before };
    if (takesMask() && !painter.isEmpty) inputs.mask = await painter.maskFile();
    if (model.options?.some((each) => each.name === "preview_every")) options.preview_every ??= 5;
    say("Sending the picture …");
    const { id } = await gateway.submit(model, options, inputs);
    state.task.id = id;
    if (state.task.cancelled) await gateway.cancel(id);
    const ended = await follow(id);
    if (ended.state !== "succeeded") throw new Error(ended.error?.message ?? `The task was ${ended.state}.`);
    const after = await gateway.result(id);
    if (!after) throw new Error("The result is not there yet; see the history.");
    await addToHistory({ id, model: model.name, after }, open);
    finish(before, after, `${model.name}, ${((performance.now() - state.began) / 1000).toFixed(1)} s`);
  } catch (error) {
    if (!state.task.cancelled) fail(error);
  } finally {
    state.task = null;
    working(false);
  }
}

async function follow(id) {
  let shown = -1, wait = 0.15, queued = false;
  live.watch(id);
  try {
    for (;; wait = LOOK_SECONDS) {
      // News come by themselves while the socket is open; of a place in the line there are none.
      let told = await live.next(id, live.isLive() ? (queued ? PLACE_SECONDS : QUIET_SECONDS) : wait);
      if (!told) {
        try { told = await gateway.task(id); } catch (error) {
          // The service is restarted, or the network was away: the task goes on without us.
          if (error.status === 0 || error.status >= 500) { say(`${error.message} The task goes on.`); await gateway.pause(1); continue; }
          throw error;
        }
      }
      if (ENDED.includes(told.state)) return told;
      queued = told.state === "queued";
      if (told.total) $("bar").value = told.step / told.total; else $("bar").removeAttribute("value");
      if (!(queued && told.type)) say(told.waiting_for || worded(told));
      if (told.preview) { shown = told.step; showPreview(await pictured(told.preview)); continue; }
      if (!live.isLive() && told.total && told.step !== shown && told.step >= 5) {
        shown = told.step;
        const seen = await gateway.preview(id).catch(() => null);
        if (seen) showPreview(seen);
      }
    }
  } finally { live.unwatch(id); }
}

function pictured({ data, format }) {
  const bytes = Uint8Array.from(atob(data), (each) => each.charCodeAt(0));
  return new Blob([bytes], { type: `image/${format}` });
}

function worded(told) {
  if (told.state === "running" && told.total) return `Step ${told.step} of ${told.total}`;
  if (told.state === "queued" && told.position) return `Place ${told.position} in the line`;
  return { queued: "Waiting for a worker …", leased: "Starting …", loading: "The model is loaded …", running: "Running …" }[told.state] ?? "Sent";
}

function showPreview(blob) {
  const old = $("preview").src;
  $("preview").src = URL.createObjectURL(blob);
  $("preview").hidden = false;
  if (old) URL.revokeObjectURL(old);
}

function finish(before, after, facts) {
  state.result = after;
  $("preview").hidden = $("view").hidden = true;
  showComparison(before, after);
  $("facts").textContent = facts;
  const link = $("download");
  if (link.href) URL.revokeObjectURL(link.href);
  link.href = URL.createObjectURL(after);
  link.download = `${state.name}_${state.model.name}.png`;
  $("result").hidden = false;
  update();
  $("slider").focus({ preventScroll: true });
}

async function open({ after, model }) {
  if (state.task) return;
  if (!state.file) await take(after, "result.png");
  finish(state.file, after, model);
}

function working(is) {
  state.began = performance.now();
  $("run").hidden = is;
  $("cancel").hidden = $("progress").hidden = !is;
  $("bar").removeAttribute("value");
  $("preview").hidden = true;
  for (const id of ["model", "other", "clear", "undo", "invert"]) $(id).disabled = is;
  update();
}

const say = (text) => { if ($("status").textContent !== text) $("status").textContent = text; };

function fail(error) {
  $("error").hidden = !error;
  $("error").textContent = error?.message ?? "";
}

// ---- listening ---------------------------------------------------------------------------------

function tool(name) {
  painter.tool = name;
  for (const [id, each] of [["brush", "brush"], ["eraser", "eraser"], ["hand", "move"]]) {
    $(id).setAttribute("aria-pressed", String(each === name));
  }
  painter.draw();
}

function size(to) {
  painter.size = Math.min(300, Math.max(2, Math.round(to)));
  $("size").value = $("size-shown").value = painter.size;
  painter.draw();
}

const KEYS = {
  b: () => tool("brush"), e: () => tool("eraser"), h: () => tool("move"), i: () => painter.invert(),
  "[": () => size(painter.size / 1.2), "]": () => size(painter.size * 1.2 + 1),
  "+": () => painter.zoom(1.25), "=": () => painter.zoom(1.25), "-": () => painter.zoom(0.8), 0: () => painter.fit(),
  ArrowLeft: () => painter.shift(40, 0), ArrowRight: () => painter.shift(-40, 0),
  ArrowUp: () => painter.shift(0, 40), ArrowDown: () => painter.shift(0, -40), Enter: run,
};

function listen() {
  const on = (id, act, kind = "click") => $(id).addEventListener(kind, act);
  on("model", choose, "change");
  on("run", run);
  on("options", (event) => { event.preventDefault(); run(); }, "submit");
  on("cancel", () => {
    if (!state.task) return;
    state.task.cancelled = true;
    say("Cancelling …");
    if (state.task.id) gateway.cancel(state.task.id);
  });
  on("brush", () => tool("brush"));
  on("eraser", () => tool("eraser"));
  on("hand", () => tool("move"));
  on("size", () => size($("size").valueAsNumber), "input");
  on("undo", () => painter.undo());
  on("clear", () => painter.clear());
  on("invert", () => painter.invert());
  on("zoom-in", () => painter.zoom(1.25));
  on("zoom-out", () => painter.zoom(0.8));
  on("zoom-fit", () => painter.fit());
  on("edit", back);
  on("use", () => take(state.result, `${state.name}.png`));
  on("other", () => $("file").click());
  on("file", () => { if ($("file").files[0]) take($("file").files[0]); $("file").value = ""; }, "change");
  const canvas = $("canvas");
  canvas.addEventListener("dragover", (event) => { event.preventDefault(); canvas.classList.add("over"); });
  canvas.addEventListener("dragleave", () => canvas.classList.remove("over"));
  canvas.addEventListener("drop", (event) => {
    event.preventDefault();
    canvas.classList.remove("over");
    if (event.dataTransfer.files[0] && !state.task) take(event.dataTransfer.files[0]);
  });
  addEventListener("paste", (event) => {
    const file = [...event.clipboardData.files].find((each) => each.type.startsWith("image/"));
    if (file && !state.task) take(file, "pasted.png");
  });
  addEventListener("keydown", (event) => {
    if ($("studio").hidden || /^(INPUT|TEXTAREA|SELECT|BUTTON|A|SUMMARY)$/.test(event.target.tagName)) return;
    if ((event.ctrlKey || event.metaKey) && event.key === "z") { event.preventDefault(); painter.undo(); return; }
    if (event.ctrlKey || event.metaKey || event.altKey || !painter.image || $("view").hidden) return;
    if (event.key === " ") { event.preventDefault(); painter.isHeld = true; painter.draw(); return; }
    const act = KEYS[event.key];
    if (act && !(/^[bei]$/.test(event.key) && !takesMask())) { event.preventDefault(); act(); }
  });
  addEventListener("keyup", (event) => { if (event.key === " ") { painter.isHeld = false; painter.draw(); } });
}
