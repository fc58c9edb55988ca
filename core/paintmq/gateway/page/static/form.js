// A form of a model's options, made from what the broker tells of them.

const USUAL = ["prompt", "negative_prompt", "algorithm", "radius", "scale", "strength", "steps", "output"];

export function words(name) {
  const text = name.replaceAll("_", " ").trim();
  return text.charAt(0).toUpperCase() + text.slice(1);
}

function controlOf(option) {
  let control;
  if (option.type === "choice") {
    control = document.createElement("select");
    for (const choice of option.choices) control.add(new Option(String(choice), JSON.stringify(choice)));
    control.value = JSON.stringify(option.default);
  } else if (option.type === "text" && option.name.includes("prompt")) {
    control = document.createElement("textarea");
    control.value = option.default ?? "";
  } else {
    control = document.createElement("input");
    control.type = { boolean: "checkbox", integer: "number", number: "number" }[option.type] ?? "text";
    if (option.type === "boolean") control.checked = Boolean(option.default);
    else if (option.type === "any") control.value = option.default === null ? "" : JSON.stringify(option.default);
    else control.value = option.default ?? "";
    if (option.type === "integer") control.step = "1";
    if (option.type === "number") control.step = "any";
    if (option.least !== null && option.least !== undefined) control.min = option.least;
    if (option.most !== null && option.most !== undefined) control.max = option.most;
  }
  control.name = option.name;
  control.id = `option-${option.name}`;
  return control;
}

function fieldOf(option) {
  const label = document.createElement("label");
  const title = document.createElement("span");
  const control = controlOf(option);
  title.textContent = words(option.name);
  label.className = option.type === "boolean" ? "field row" : "field";
  label.append(...(option.type === "boolean" ? [control, title] : [title, control]));
  const said = [option.help, option.limits].filter(Boolean).join("; ");
  if (said) {
    const help = document.createElement("small");
    help.textContent = said;
    help.id = `help-${option.name}`;
    control.setAttribute("aria-describedby", help.id);
    label.append(help);
  }
  return label;
}

export class OptionsForm {
  constructor(form) { this.form = form; this.options = []; this.kept = new Map(); }

  show(model) {
    this.keep();
    this.model = model;
    this.options = (model.options ?? []).filter((each) => !each.name.startsWith("preview_"));
    const usual = this.options.filter((each) => USUAL.includes(each.name));
    const first = usual.length ? usual : this.options.slice(0, 4);
    const more = this.options.filter((each) => !first.includes(each));
    this.form.replaceChildren(...first.map(fieldOf));
    if (more.length) {
      const details = document.createElement("details");
      const summary = document.createElement("summary");
      const inside = document.createElement("div");
      summary.textContent = "More options";
      inside.append(...more.map(fieldOf));
      details.append(summary, inside);
      this.form.append(details);
    }
    for (const [name, value] of this.kept.get(model.name) ?? []) {
      const control = this.form.elements[name];
      if (control) control[control.type === "checkbox" ? "checked" : "value"] = value;
    }
  }

  keep() {
    if (!this.model) return;
    const values = [...this.form.elements].filter((each) => each.name)
      .map((each) => [each.name, each.type === "checkbox" ? each.checked : each.value]);
    this.kept.set(this.model.name, values);
  }

  // Returns the options that differ from their presets; null, and shows where, if one is wrong.
  read() {
    if (!this.form.reportValidity()) return null;
    const chosen = {};
    for (const option of this.options) {
      const control = this.form.elements[option.name];
      const value = valueOf(option, control);
      if (value !== undefined && JSON.stringify(value) !== JSON.stringify(option.default)) chosen[option.name] = value;
    }
    return chosen;
  }
}

function valueOf(option, control) {
  switch (option.type) {
    case "boolean": return control.checked;
    case "choice": return JSON.parse(control.value);
    case "integer": case "number": return control.value === "" ? undefined : Number(control.value);
    case "text": return control.value;
    default:
      if (control.value === "") return undefined;
      try { return JSON.parse(control.value); } catch { return control.value; }
  }
}
