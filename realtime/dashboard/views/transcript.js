// The transcript: what was said, by whom, and what it expressed; provisional until it is final.

import { Call, clock, percent } from "../state/call.js";
import { face } from "../state/emotions.js";
import { VirtualList } from "./virtual_list.js";
import { make } from "./dom.js";

export const MODALITY_WORDS = { text: "words", voice: "voice", face: "face" };

/** "text" as "words"; a modality that the page does not know keeps its name. */
export function modalityWord(modality) {
  return MODALITY_WORDS[modality] ?? modality.replaceAll("_", " ");
}

export class Transcript {
  #call;
  #list;
  #current = null; // the row that arrow keys start from
  #generation = 0;

  constructor(call, { onChoose }) {
    this.#call = call;
    this.onChoose = onChoose;
    const scroller = document.getElementById("transcript");
    const follow = document.getElementById("follow");
    this.#list = new VirtualList(scroller, document.getElementById("rows-space"), {
      build: () => make("article", { class: "row", tabindex: -1 }),
      fill: (element, index) => this.#fill(element, this.#call.rows[index]),
      onFollow: (on) => follow.setAttribute("aria-pressed", on),
    });
    follow.addEventListener("click", () => this.#list.follow(!this.#list.following));
    scroller.addEventListener("click", (event) => {
      const article = event.target.closest("article");
      if (article) this.choose(this.#call.rows[article.dataset.index]);
    });
    scroller.addEventListener("keydown", (event) => this.#key(event));
  }

  /** Called when the page needs drawing because somebody scrolled. */
  set onScroll(wake) {
    this.#list.onScroll = this.#list.onResize = wake;
  }

  get following() {
    return this.#list.following;
  }

  /** Make a row the current one and bring it into sight. */
  choose(row, { focus = false, quietly = false } = {}) {
    const before = this.#current;
    this.#current = row;
    for (const one of [before, row]) if (one) this.#list.refresh(one.index);
    if (row) this.#list.reveal(row.index, { focus });
    if (!quietly) this.onChoose(row);
  }

  draw() {
    const { rows, touched, generation } = this.#call;
    if (generation !== this.#generation) {
      this.#generation = generation;
      this.#current = null;
      this.#list.clear();
    }
    if (rows.length > this.#list.count) this.#list.grow(rows.length);
    if (this.#call.allTouched) for (let i = 0; i < rows.length; i++) this.#list.refresh(i);
    for (const row of touched) {
      if (row.state === "discarded") this.#list.hide(row.index);
      else this.#list.refresh(row.index);
    }
    document.getElementById("empty").hidden = rows.some((row) => row.state !== "discarded");
    document.getElementById("transcript-count").textContent = this.#call.judged
      ? `${this.#call.judged.toLocaleString("en")} ${this.#call.judged === 1 ? "utterance" : "utterances"}`
      : "";
    this.#list.draw();
  }

  #key(event) {
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: 8, PageUp: -8 };
    const { rows } = this.#call;
    const seen = (row) => row && row.state !== "discarded";
    let target = null;
    if (event.key === "Home") target = rows.find(seen);
    else if (event.key === "End") target = rows.findLast(seen);
    else if (event.key in steps) {
      const step = steps[event.key];
      let index = (this.#current?.index ?? (step > 0 ? -1 : rows.length)) + step;
      index = Math.max(0, Math.min(index, rows.length - 1));
      while (rows[index] && !seen(rows[index])) index += Math.sign(step);
      target = rows[index];
    } else if ((event.key === "Enter" || event.key === " ") && this.#current) {
      this.onChoose(this.#current, { enter: true });
      event.preventDefault();
      return;
    }
    if (!target) return;
    event.preventDefault();
    this.choose(target, { focus: true });
  }

  #fill(element, row) {
    element.dataset.state = row.kind === "note" ? "note" : row.state;
    element.classList.toggle("current", row === this.#current);
    element.setAttribute("aria-posinset", row.index + 1);
    element.setAttribute("aria-setsize", -1);
    if (row.kind === "note") {
      element.dataset.level = row.level;
      element.setAttribute("aria-label", row.text);
      element.replaceChildren(make("p", { class: "note" }, make("time", {}, clock(row.start)), " ", row.text));
      return true;
    }
    if (row.state === "discarded") return false;
    const speaker = this.#call.speakers.get(row.speaker);
    element.setAttribute("aria-label", describe(row, speaker));
    element.replaceChildren(
      make("time", { class: "row-time" }, clock(row.start)),
      make("div", { class: "row-head" }, initials(speaker), make("span", { class: "who" }, speaker.name), ...judgement(row)),
      make("p", { class: row.text ? "words" : "words quiet" }, spoken(row)),
      opinions(row),
      ...secondOpinion(row),
    );
    return true;
  }
}

/** A speaker's sign: a letter in a shape of its own. */
export function initials(speaker) {
  return make("span", { class: `sign sign-${speaker.number % 6}`, "aria-hidden": "true" }, speaker.name.slice(0, 1).toUpperCase());
}

function spoken(row) {
  if (row.text) return row.text;
  if (row.state === "open" || row.state === "provisional") return `${Call.progress(row)} …`;
  return row.event?.known === false ? "(said before you came)" : "(no words)";
}

/** An utterance in one sentence, for a screen reader. */
export function describe(row, speaker) {
  const when = `${speaker.name}, ${clock(row.start)}`;
  if (!row.emotion) return `${when}: ${Call.progress(row)}`;
  const parts = [`${row.state === "provisional" ? "provisionally " : ""}${row.event?.uncertain ? "perhaps " : ""}${row.emotion} ${percent(row.confidence)}`];
  if (row.correction) parts.push(`corrected to ${row.correction}`);
  if (row.shift) parts.push(`shift from ${row.shift.from}`);
  for (const one of row.disagreements) parts.push(`${modalityWord(one.modality)} alone ${one.emotion} ${percent(one.confidence)}`);
  const second = row.event?.rescored;
  if (second) parts.push(`${second.checkpoint} says ${second.emotion} ${percent(second.confidence)}`);
  return `${when}: ${parts.join(", ")}. ${row.text ?? ""}`;
}

/** Face, word and confidence; struck through where a person corrected it. */
function judgement(row) {
  if (!row.emotion) return [make("span", { class: "tag speaking" }, make("i"), make("i"), make("i"))];
  const shown = Call.emotion(row);
  const bar = make("span", { class: "bar", "aria-hidden": "true" }, make("span"));
  bar.firstChild.style.width = percent(row.confidence).replace(" ", "");
  const parts = [
    make("span", { class: row.event?.uncertain && !row.correction ? "emotion uncertain" : "emotion" }, face(shown, 22), make("b", {}, Call.word(row))),
    row.correction
      ? make("span", { class: "tag corrected" }, "corrected, was ", make("s", {}, row.emotion))
      : make("span", { class: "confidence" }, bar, percent(row.confidence)),
  ];
  if (row.state === "provisional") parts.push(make("span", { class: "tag provisional" }, "provisional"));
  if (row.shift) parts.push(make("span", { class: "tag shift" }, make("span", { "aria-hidden": "true" }, "◆ "), `from ${row.shift.from}`));
  if (row.pending) parts.push(make("span", { class: "tag provisional" }, `sending: ${row.pending}`));
  return parts;
}

/** What another model says of the same features, in a replay that asked for it. */
function secondOpinion(row) {
  const second = row.event?.rescored;
  if (!second) return [];
  const agrees = second.emotion === row.emotion;
  return [make("p", { class: agrees ? "second" : "second against" },
    make("span", { class: "quiet" }, "another model, ", second.checkpoint), face(second.emotion, 15), ` ${second.emotion} ${percent(second.confidence)}`,
    agrees ? "" : make("span", { class: "tag disagrees" }, make("span", { "aria-hidden": "true", class: "unequal" }, "≠ "), "another opinion"))];
}

/** What each modality says on its own, small; those that contradict the whole are marked and spelled out. */
function opinions(row) {
  const line = make("p", { class: "opinions" });
  for (const [modality, opinion] of Object.entries(row.event?.modalities ?? {})) {
    if (!opinion.probabilities) continue;
    let own = null;
    for (const label in opinion.probabilities) {
      if (own === null || opinion.probabilities[label] > opinion.probabilities[own]) own = label;
    }
    const against = row.disagreements.some((one) => one.modality === modality);
    if (!line.firstChild) line.append(make("span", {}, "alone:"));
    line.append(
      make("span", { class: against ? "opinion against" : "opinion" },
        make("span", {}, modalityWord(modality)), face(own, 15),
        against ? `${own} ${percent(opinion.probabilities[own])}` : ""),
    );
  }
  return line;
}
