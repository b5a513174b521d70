// ?overlay=1: nothing but each speaker's present mood and latest words, on a transparent ground, for a picture
// mixer such as OBS. No controls, since nobody can click there.

import { Call, percent } from "../state/call.js";
import { face } from "../state/emotions.js";
import { make } from "./dom.js";

const WORDS = 90;

export class Overlay {
  #call;
  #root = document.getElementById("overlay");
  #shown = "";

  constructor(call) {
    this.#call = call;
    this.#root.hidden = false;
    for (const element of document.querySelectorAll("body > :not(#overlay)")) element.hidden = true;
  }

  draw() {
    const speakers = [...this.#call.speakers.values()].filter((speaker) => speaker.latest?.emotion && !speaker.optedOut);
    const state = JSON.stringify(speakers.map(({ id, name, latest }) => [id, name, latest.id, latest.event.revision, latest.correction]));
    if (state === this.#shown) return;
    this.#shown = state;
    this.#root.replaceChildren(...speakers.map((speaker) => plate(speaker)));
  }
}

function plate({ name, latest }) {
  const emotion = Call.emotion(latest);
  const text = latest.text ?? "";
  const plateElement = make("div", { class: "plate", "data-state": latest.state },
    face(emotion, 52),
    make("div", {},
      make("p", { class: "plate-who" }, make("b", {}, name), ` ${Call.word(latest)}${latest.correction ? "" : ` ${percent(latest.confidence)}`}${latest.state === "provisional" ? " …" : ""}`),
      make("p", { class: "plate-words" }, text.length > WORDS ? `… ${text.slice(-WORDS)}` : text)));
  return plateElement;
}
