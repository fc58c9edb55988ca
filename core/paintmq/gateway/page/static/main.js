// The page: who is signed in, light or dark, Studio or Service.

import * as gateway from "./gateway.js";
import { showService, startService } from "./service.js";
import { startStudio } from "./studio.js";

const $ = (id) => document.getElementById(id);
const dark = matchMedia("(prefers-color-scheme: dark)");

function colours() {
  const theme = localStorage.getItem("theme") ?? (dark.matches ? "dark" : "light");
  document.documentElement.dataset.theme = theme;
  return theme;
}

function go() {
  const service = location.hash === "#service" && !$("to-service").hidden;
  $("service").hidden = !service;
  $("studio").hidden = service;
  for (const [id, is] of [["to-service", service], ["to-studio", !service]]) {
    if (is) $(id).setAttribute("aria-current", "page"); else $(id).removeAttribute("aria-current");
  }
  document.title = service ? "PaintMQ Service" : "PaintMQ Studio";
  showService(service);
}

colours();
dark.addEventListener("change", colours);
$("theme").addEventListener("click", () => {
  localStorage.setItem("theme", colours() === "dark" ? "light" : "dark");
  colours();
});
addEventListener("hashchange", go);
for (const id of ["to-studio", "to-service"]) $(id).addEventListener("click", () => $("main").focus());

try {
  const me = await gateway.read("v1/me");
  $("who").textContent = me.name;
  $("logout").hidden = false;
  $("to-service").hidden = me.role !== "admin";
} catch { /* without it, the page works for whoever has a token */ }
startService($("service"));
go();
startStudio();
