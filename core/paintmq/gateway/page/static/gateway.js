// What the page asks of the gateway: /v1, below whatever path the gateway is reached at.

export const root = new URL("../", document.baseURI);

export class Refused extends Error {
  constructor(status, code, message) { super(message); this.status = status; this.code = code; }
}

async function checked(answer) {
  if (answer.ok) return answer;
  let told = {};
  try { told = await answer.json(); } catch { /* no JSON: the status must do */ }
  if (answer.status === 401) {
    location.assign(new URL("login?next=" + encodeURIComponent("/studio/" + location.hash), root));
  }
  throw new Refused(answer.status, told.code ?? "", told.message ?? `the service answers ${answer.status}`);
}

export async function ask(method, path, body) {
  let answer;
  try {
    answer = await fetch(new URL(path, root), { method, body, headers: { accept: "application/json" } });
  } catch {
    throw new Refused(0, "unreachable", "The service cannot be reached. It is tried again when you do.");
  }
  return checked(answer);
}

export const read = async (path) => (await ask("GET", path)).json();

export async function picture(path) {
  const answer = await checked(await fetch(new URL(path, root), { headers: { accept: "image/png" } }));
  return answer.status === 200 ? answer.blob() : null;
}

export const models = () => read("studio/models");

export async function submit(model, options, inputs) {
  const form = new FormData();
  form.set("model", model.name);
  form.set("task_type", model.task_types[0]);
  for (const [name, value] of Object.entries(options)) form.set(`option.${name}`, JSON.stringify(value));
  for (const [name, blob] of Object.entries(inputs)) form.set(name, blob, name);
  return (await ask("POST", "v1/tasks", form)).json();
}

export const task = (id) => read(`v1/tasks/${id}`);
export const cancel = (id) => ask("DELETE", `v1/tasks/${id}`).catch(() => null);
export const result = (id) => picture(`v1/tasks/${id}/result`);
export const preview = (id) => picture(`v1/tasks/${id}/preview?format=jpeg`);
export const pause = (seconds) => new Promise((done) => setTimeout(done, seconds * 1000));
