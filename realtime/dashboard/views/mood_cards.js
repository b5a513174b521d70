// The present mood of each speaker: a face, a word, how sure, what else it might be, and where it is going.

import { Call, percent } from "../state/call.js";
import { face, look } from "../state/emotions.js";
import { make } from "./dom.js";
import { initials } from "./transcript.js";

const TREND_WORDS = {
  lighter: ["↗", "getting lighter"],
  heavier: ["↘", "getting heavier"],
  steady: ["→", "steady"],
};

export class Moods {
  #call;
  #cards = new Map();
  #list = document.getElementById("moods");
  #generation = 0;

  constructor(call, { onChoose, onRename, onOptOut }) {
    this.#call = call;
    Object.assign(this, { onChoose, onRename, onOptOut });
  }

  draw() {
    if (this.#generation !== this.#call.generation) {
      this.#generation = this.#call.generation;
      this.#cards.clear();
      this.#list.replaceChildren();
    }
    for (const [id, card] of this.#cards) {
      if (this.#call.speakers.has(id)) continue; // proved to be another
      card.element.remove();
      this.#cards.delete(id);
    }
    for (const speaker of this.#call.speakers.values()) this.#card(speaker);
  }

  #card(speaker) {
    const row = speaker.latest;
    const activity = Call.activity(speaker);
    const state = [row?.id, speaker.trend.length, row?.event?.revision, row?.state, row?.correction, activity, speaker.name, speaker.optedOut].join();
    let card = this.#cards.get(speaker.id);
    if (card?.state === state) return;
    if (!card) {
      card = { name: make("span"), speaking: make("span", { class: "speaking-now" }), body: make("div", { class: "mood-body" }), menu: this.#menu(speaker) };
      card.element = make("li", { class: "mood panel" }, make("h3", {}, card.name, card.speaking, card.menu.button), card.menu.form, card.body);
      this.#cards.set(speaker.id, card);
      this.#list.append(card.element);
    }
    card.state = state;
    card.element.dataset.speaking = activity === "speaking";
    card.name.replaceChildren(initials(speaker), speaker.name);
    card.speaking.textContent = activity;
    card.menu.button.setAttribute("aria-label", `Name and consent of ${speaker.name}`);
    card.menu.optOut.textContent = speaker.optedOut ? "Analyse again" : "Stop analysing";
    card.body.replaceChildren(...(row?.emotion && !speaker.optedOut ? this.#judged(speaker, row) : silent(speaker)));
  }

  /** Rename, and opting out: behind a button, since they are seldom wanted. */
  #menu(speaker) {
    const name = make("input", { type: "text", maxlength: 100, "aria-label": "Name to show", value: speaker.name, autocomplete: "off" });
    const optOut = make("button", { type: "button", name: "opt-out" });
    const form = make("form", { id: `menu-${speaker.number}`, popover: true }, name, make("button", { type: "submit" }, "Rename"), optOut);
    const button = make("button", { type: "button", class: "more", popovertarget: form.id }, make("span", { "aria-hidden": "true" }, "⋯"));
    form.addEventListener("beforetoggle", () => {
      const { right, bottom } = button.getBoundingClientRect();
      form.style.top = `${bottom + 2}px`;
      form.style.left = `${Math.max(8, right - 200)}px`;
    });
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (name.value.trim()) this.onRename(speaker.id, name.value.trim());
      form.hidePopover();
    });
    optOut.addEventListener("click", () => {
      this.onOptOut(speaker.id, !this.#call.speakers.get(speaker.id).optedOut);
      form.hidePopover();
    });
    return { button, form, optOut };
  }

  #judged(speaker, row) {
    const shown = Call.emotion(row);
    const trend = Call.trend(speaker);
    const now = make("button", { type: "button", class: "mood-now" },
      face(shown, 44),
      make("span", { class: "mood-words" },
        make("b", {}, Call.word(row)),
        make("span", { class: "quiet" },
          row.correction ? "corrected" : `${percent(row.confidence)}${row.state === "provisional" ? ", provisional" : ""}`),
      ),
    );
    now.addEventListener("click", () => this.onChoose(row));
    const parts = [now, distribution(row.probabilities)];
    if (trend) {
      const [arrow, words] = TREND_WORDS[trend];
      parts.push(make("p", { class: "trend" }, sparkline(speaker.trend), make("span", { "aria-hidden": "true" }, arrow), ` ${words}`));
    }
    return parts;
  }
}

function silent(speaker) {
  return [make("p", { class: "quiet" }, speaker.optedOut ? "Not analysed, as asked." : "Nothing judged yet.")];
}

/** One bar of stacked probabilities, and the runners-up in words. */
function distribution(probabilities) {
  const bar = make("div", { class: "stack", "aria-hidden": "true" });
  const sorted = Object.entries(probabilities).sort((a, b) => b[1] - a[1]);
  for (const [label, probability] of sorted) {
    const part = make("span");
    part.style.width = `${100 * probability}%`;
    part.style.background = look(label).colour;
    bar.append(part);
  }
  const others = sorted.slice(1, 3).filter(([, probability]) => probability >= 0.05);
  const words = others.map(([label, probability]) => `${label} ${percent(probability)}`).join(", ");
  return make("div", {}, bar, make("p", { class: "quiet small" }, words ? `or ${words}` : "nothing else likely"));
}

/** Valence of the latest utterances, oldest first. */
function sparkline(rows) {
  const [width, height] = [84, 22];
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  for (const [name, value] of [["viewBox", `0 0 ${width} ${height}`], ["width", width], ["height", height], ["aria-hidden", "true"], ["class", "spark"]]) {
    svg.setAttribute(name, value);
  }
  const x = (i) => (rows.length < 2 ? width - 3 : 3 + (i * (width - 6)) / (rows.length - 1));
  const y = (valence) => height / 2 - valence * (height / 2 - 3);
  const draw = (name, attributes) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    svg.append(element);
  };
  draw("line", { x1: 0, x2: width, y1: height / 2, y2: height / 2, class: "spark-zero" });
  draw("polyline", { points: rows.map((row, i) => `${x(i)},${y(row.valence)}`).join(" "), class: "spark-line" });
  draw("circle", { cx: x(rows.length - 1), cy: y(rows.at(-1).valence), r: 2.6, class: "spark-end" });
  return svg;
}
