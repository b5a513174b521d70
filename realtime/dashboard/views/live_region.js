// Says new results to a screen reader when asked to: at most one sentence every few seconds, the latest.

import { percent } from "../state/call.js";

const PAUSE_MS = 6000;

export class Announcer {
  #call;
  #on = false;
  #said = 0;
  #timer = null;
  #region = document.getElementById("announcer");

  constructor(call) {
    this.#call = call;
    const button = document.getElementById("announce");
    button.addEventListener("click", () => {
      this.#on = !this.#on;
      this.#said = this.#call.judged;
      button.setAttribute("aria-pressed", this.#on);
    });
  }

  draw() {
    if (this.#on && this.#timer === null && this.#call.judged > this.#said) this.#say();
  }

  #say() {
    this.#timer = null;
    const missed = this.#call.judged - this.#said - 1;
    if (missed < 0) return;
    this.#said = this.#call.judged;
    const row = this.#call.rows.findLast((one) => one.state === "final");
    const { name } = this.#call.speakers.get(row.speaker);
    const before = missed ? `${missed} more before. ` : "";
    const shift = row.shift ? `, from ${row.shift.from}` : "";
    this.#region.textContent = `${before}${name}: ${row.emotion} ${percent(row.confidence)}${shift}. ${row.text ?? ""}`;
    this.#timer = setTimeout(() => this.#say(), PAUSE_MS);
  }
}
