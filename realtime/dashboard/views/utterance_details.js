// One utterance in full: what the whole says, what each modality says on its own and how much it weighed, how long
// it took, and the buttons by which a person corrects it.

import { Call, clock, percent } from "../state/call.js";
import { best, face, look } from "../state/emotions.js";
import { make } from "./dom.js";
import { initials, modalityWord } from "./transcript.js";

export class Details {
  #call;
  #row = null;
  #shown = "";
  #panel = document.getElementById("details");
  #body = document.getElementById("details-body");
  #hint = document.getElementById("details-body").firstElementChild;

  constructor(call, { onCorrect, onClose }) {
    this.#call = call;
    this.onCorrect = onCorrect;
    document.getElementById("close-details").addEventListener("click", onClose);
    this.#panel.addEventListener("keydown", (event) => event.key === "Escape" && onClose());
  }

  show(row, { focus = false } = {}) {
    this.#row = row?.kind === "utterance" ? row : null;
    this.#panel.classList.toggle("shown", this.#row !== null);
    this.draw();
    if (focus && this.#row) this.#body.querySelector("button")?.focus();
  }

  draw() {
    const row = this.#row;
    if (row && this.#call.utterances.get(row.id) !== row) return this.show(null);
    const state = row
      ? [row.id, row.state, row.event?.revision, row.correction, row.pending, row.refusal, row.speaker, this.#call.speakers.get(row.speaker).name].join()
      : "";
    if (state === this.#shown && state) return undefined;
    this.#shown = state;
    const focused = document.activeElement?.dataset?.label;
    this.#body.replaceChildren(...(row ? this.#parts(row) : [this.#hint]));
    if (focused) this.#body.querySelector(`button[data-label="${CSS.escape(focused)}"]`)?.focus();
    return undefined;
  }

  #parts(row) {
    const speaker = this.#call.speakers.get(row.speaker);
    const parts = [
      make("p", { class: "details-who" }, initials(speaker), make("b", {}, speaker.name), make("span", { class: "quiet" }, ` ${clock(row.start)} to ${clock(row.end)}`)),
      make("blockquote", {}, row.text ?? (row.state === "final" ? "(no words)" : `${Call.progress(row)} …`)),
    ];
    if (!row.emotion) return parts;
    parts.push(section(row.state === "provisional" ? "All together, provisionally" : row.event.uncertain ? "All together, but not sure" : "All together", distribution(row.probabilities, row.emotion)));
    if (row.state === "final") parts.push(this.#correction(row));
    const second = row.event.rescored;
    if (second) parts.push(section(`Second opinion: ${second.checkpoint}`, distribution(second.probabilities, second.emotion)));
    const modalities = Object.entries(row.event.modalities ?? {});
    if (modalities.length) parts.push(section("Each on its own", make("ul", { class: "modalities" }, ...modalities.map(([name, opinion]) => modality(name, opinion, row)))));
    if (row.event.latency_ms) parts.push(latency(row.event.latency_ms));
    return parts;
  }

  #correction(row) {
    const buttons = this.#call.labels.map((label) => {
      const button = make("button", { type: "button", "aria-pressed": String(label === Call.emotion(row)), "data-label": label }, face(label, 18), label);
      button.addEventListener("click", () => this.onCorrect(row, label));
      return button;
    });
    const words = row.refusal
      ?? (row.pending ? `Sending: ${row.pending} …` : row.correction ? `Kept: ${row.correction} instead of ${row.emotion}.` : "Kept on this computer as a label to learn from.");
    return section("Is that wrong? It was …",
      make("div", { class: "corrections", role: "group", "aria-label": "Correct the emotion" }, ...buttons),
      make("p", { class: row.refusal ? "small refusal" : "quiet small", role: "status" }, words));
  }
}

function section(title, ...children) {
  return make("section", {}, make("h3", {}, title), ...children);
}

/** Every label with its bar, the most probable first. */
function distribution(probabilities, emotion) {
  const list = make("ul", { class: "distribution" });
  for (const [label, probability] of Object.entries(probabilities).sort((a, b) => b[1] - a[1])) {
    const fill = make("span");
    fill.style.width = `${100 * probability}%`;
    fill.style.background = look(label).colour;
    list.append(
      make("li", { class: label === emotion ? "first" : "" },
        face(label, 18), make("span", {}, label), make("span", { class: "bar wide", "aria-hidden": "true" }, fill), make("span", { class: "number" }, percent(probability))),
    );
  }
  return list;
}

function modality(name, opinion, row) {
  if (!opinion.probabilities) {
    return make("li", { class: "absent" }, make("b", {}, modalityWord(name)), make("span", { class: "quiet" }, ` ${opinion.status.replaceAll("_", " ")}`));
  }
  const own = best(opinion.probabilities);
  const against = row.disagreements.some((one) => one.modality === name);
  const stack = make("div", { class: "stack", "aria-hidden": "true" });
  for (const [label, probability] of Object.entries(opinion.probabilities).sort((a, b) => b[1] - a[1])) {
    const part = make("span");
    part.style.width = `${100 * probability}%`;
    part.style.background = look(label).colour;
    stack.append(part);
  }
  const item = make("li", { class: against ? "against" : "" },
    make("p", {}, make("b", {}, modalityWord(name)), face(own, 18), `${own} ${percent(opinion.probabilities[own])}`,
      against ? make("span", { class: "tag disagrees" }, make("span", { "aria-hidden": "true", class: "unequal" }, "≠ "), "disagrees") : ""),
    stack);
  if (opinion.gate !== undefined) item.append(make("p", { class: "quiet small" }, `gate ${opinion.gate.toFixed(2)}: its mean weight in the fusion`));
  return item;
}

function latency(ms) {
  const parts = ["endpoint", "queue", "asr", "features", "fusion"].filter((part) => ms[part]).map((part) => `${part} ${ms[part]}`);
  return make("p", { class: "quiet small" }, `${ms.total} ms after the last word (${parts.join(", ")})`);
}
