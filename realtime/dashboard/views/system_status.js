// What the program is made of and how it is doing: sources, models, troubles.

import { clock } from "../state/call.js";
import { make } from "./dom.js";
import { modalityWord } from "./transcript.js";

const TROUBLED = new Set(["lost", "absent", "failed", "degraded"]);
const CALM = new Set(["failed", "degraded"]); // that nobody is in the picture, or says a word, is no trouble

export class System {
  #call;
  #shown = "";
  #panel = document.getElementById("system");
  #button = document.getElementById("show-system");
  #badge = document.getElementById("system-badge");
  #body = document.getElementById("system-body");

  constructor(call) {
    this.#call = call;
    const toggle = (shown) => {
      this.#panel.classList.toggle("shown", shown);
      this.#button.setAttribute("aria-expanded", shown);
    };
    this.#button.addEventListener("click", () => {
      toggle(!this.#panel.classList.contains("shown"));
      if (this.#panel.classList.contains("shown")) document.getElementById("close-system").focus();
    });
    const close = () => (toggle(false), this.#button.focus());
    document.getElementById("close-system").addEventListener("click", close);
    this.#panel.addEventListener("keydown", (event) => event.key === "Escape" && close());
  }

  draw() {
    const { created, sources, degraded, modalities, latencies, discarded, judged, closed, now } = this.#call;
    const troubles = [...degraded.values()].filter((one) => !one.recovered);
    const nameOf = (id) => this.#call.speaker(id)?.name ?? id;
    const state = JSON.stringify([created?.session, [...this.#call.speakers.values()].map((one) => one.name), [...sources.values()], troubles, [...modalities.values()], judged, discarded, closed?.reason]);
    if (state === this.#shown) return;
    this.#shown = state;
    const ill = troubles.length + [...sources.values()].filter((one) => TROUBLED.has(one.status)).length;
    this.#badge.hidden = ill === 0;
    this.#badge.replaceChildren(make("span", { "aria-hidden": "true" }, String(ill)), make("span", { class: "visually-hidden" }, `, ${ill} troubles`));
    const parts = [];
    for (const one of troubles) {
      parts.push(make("p", { class: "trouble" }, make("b", {}, `${one.what.replaceAll("_", " ")} degraded`), one.count ? ` (${one.count} lost)` : "", one.detail ? `: ${one.detail}` : ""));
    }
    parts.push(group("Sources", [...sources.values()].map((one) => health(one.source, one.status ?? "waiting", one.detail))));
    if (modalities.size) {
      parts.push(group("Modalities", [...modalities.values()].map((one) => health(`${modalityWord(one.modality)}${one.speaker ? ` of ${nameOf(one.speaker)}` : ""}`, one.status, one.detail, CALM))));
    }
    const sorted = [...latencies].sort((a, b) => a - b);
    parts.push(figures([
      ["judged", judged.toLocaleString("en")],
      ["left out", discarded.toLocaleString("en")],
      ["delay, median of the last 50", sorted.length ? `${sorted[sorted.length >> 1]} ms` : "–"],
      ["media time", clock(now)],
    ]));
    if (created) {
      const models = Object.entries(created.models).map(([role, model]) => make("li", {}, make("span", { class: "quiet" }, role), make("span", {}, model)));
      models.unshift(make("li", {}, make("span", { class: "quiet" }, "dialogue"), make("span", {}, `${created.checkpoint.name} (${created.checkpoint.digest.slice(0, 12)})`)));
      parts.push(group("Models", models, "facts"));
      parts.push(make("p", { class: "quiet small" }, `Labels ${created.labels.name} · began ${new Date(created.created_at).toLocaleString()} · session ${created.session}`));
    }
    this.#body.replaceChildren(...parts);
  }
}

function group(title, items, kind = "health") {
  return make("section", {}, make("h3", {}, title), make("ul", { class: kind }, ...items));
}

function health(name, status, detail, troubled = TROUBLED) {
  const good = status === "ok" || status === "opened";
  const level = good ? "good" : troubled.has(status) ? "bad" : "idle";
  return make("li", {},
    make("span", { class: `light ${level}`, "aria-hidden": "true" }, { good: "✓", bad: "!", idle: "·" }[level]),
    make("b", {}, name), make("span", {}, status.replaceAll("_", " ")),
    detail ? make("span", { class: "quiet small" }, detail) : "");
}

function figures(pairs) {
  return make("dl", { class: "figures" }, ...pairs.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value))));
}
