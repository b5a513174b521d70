// The timeline: a lane for each speaker, an overview of the whole call below; zoom, pan and scrub by pointer and keys.

import { Call, clock, percent } from "../state/call.js";
import { drawEmotions, drawOpen, drawShifts, drawValence, Scale, ticks } from "./charts.js";
import { make } from "./dom.js";
import { describe, initials } from "./transcript.js";

const narrow = matchMedia("(max-width: 620px)");
const GAP = 16; // above each lane, for the marks of shifts
const AXIS = 20;
const SHORTEST_MS = 5_000;
const FOLLOWED_MS = 120_000;
const FIRST_MS = 30_000; // a young call is not stretched over the whole width
const OVERVIEW_LANE = 9;

export class Timeline {
  #call;
  #from = 0;
  #to = FIRST_MS;
  #following = true;
  #followed = FOLLOWED_MS; // how much of the call's end is in view while following
  #valence = false;
  #current = null;
  #lanes = document.getElementById("lanes");
  #canvas = document.getElementById("lanes-canvas");
  #overview = document.getElementById("overview");
  #hint = document.getElementById("hint");
  #names = document.getElementById("lane-names");
  #namesShown = "";
  #height = 52; // of a lane

  constructor(call, { onChoose, wake }) {
    this.#call = call;
    this.onChoose = onChoose;
    this.wake = wake;
    const on = (id, action) => document.getElementById(id).addEventListener("click", action);
    on("zoom-in", () => this.#zoom(0.5));
    on("zoom-out", () => this.#zoom(2));
    on("zoom-all", () => this.#look(0, Math.max(call.now, FIRST_MS), false));
    on("zoom-live", () => this.#follow(!this.#following));
    for (const radio of document.querySelectorAll("input[name=chart]")) {
      radio.addEventListener("change", () => ((this.#valence = radio.value === "valence" && radio.checked), wake()));
    }
    this.#lanes.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    this.#lanes.addEventListener("keydown", (event) => this.#key(event));
    this.#drag(this.#canvas, (event) => this.#scrub(event));
    this.#drag(this.#overview, (event) => this.#pan(event));
    this.#canvas.addEventListener("pointermove", (event) => this.#point(event));
    this.#canvas.addEventListener("pointerleave", () => (this.#hint.hidden = true));
    new ResizeObserver(wake).observe(this.#lanes);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", wake);
  }

  choose(row) {
    this.#current = row;
    if (row && (row.start < this.#from || row.start > this.#to)) {
      const span = this.#to - this.#from;
      this.#look(row.start - span / 2, row.start + span / 2, false);
    }
    this.wake();
  }

  // -- what is in view

  #look(from, to, following = this.#following) {
    const end = Math.max(this.#call.now, FIRST_MS);
    const span = Math.min(Math.max(to - from, SHORTEST_MS), end);
    this.#from = Math.max(0, Math.min(from, end - span));
    this.#to = this.#from + span;
    if (following !== this.#following) this.#follow(following);
    this.wake();
  }

  #follow(on) {
    this.#following = on;
    if (on) this.#followed = FOLLOWED_MS;
    document.getElementById("zoom-live").setAttribute("aria-pressed", on);
    this.wake();
  }

  #zoom(factor, around = null) {
    if (this.#following && around === null) {
      this.#followed = Math.min(Math.max(factor * (this.#to - this.#from), SHORTEST_MS), Math.max(this.#call.now, FIRST_MS));
      this.wake();
      return;
    }
    const span = (this.#to - this.#from) * factor;
    const middle = around ?? this.#current?.start ?? (this.#from + this.#to) / 2;
    const share = (middle - this.#from) / (this.#to - this.#from);
    this.#look(middle - share * span, middle + (1 - share) * span, false);
  }

  #wheel(event) {
    event.preventDefault();
    if (Math.abs(event.deltaX) > Math.abs(event.deltaY) || event.shiftKey) {
      const by = ((event.deltaX || event.deltaY) * (this.#to - this.#from)) / this.#canvas.clientWidth;
      this.#look(this.#from + by, this.#to + by, false);
    } else {
      this.#zoom(Math.exp(event.deltaY / 400), this.#scale().time(event.offsetX));
    }
  }

  #scale() {
    return new Scale(this.#from, this.#to, this.#canvas.clientWidth);
  }

  // -- pointer

  #drag(canvas, moved) {
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      canvas.setPointerCapture(event.pointerId);
      moved(event);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (canvas.hasPointerCapture(event.pointerId)) moved(event);
    });
  }

  #at(event) {
    const speakers = [...this.#call.speakers.values()];
    const speaker = speakers[Math.floor(event.offsetY / (this.#height + GAP))];
    return speaker ? nearest(speaker.series, this.#scale().time(event.offsetX)) : null;
  }

  #scrub(event) {
    const row = this.#at(event);
    if (row && row !== this.#current) this.onChoose(row);
  }

  #pan(event) {
    const time = (event.offsetX / this.#overview.clientWidth) * Math.max(this.#call.now, FIRST_MS);
    const half = (this.#to - this.#from) / 2;
    this.#look(time - half, time + half, false);
  }

  #point(event) {
    const row = this.#at(event);
    this.#hint.hidden = !row;
    if (!row) return;
    this.#hint.textContent = `${this.#call.speakers.get(row.speaker).name} ${clock(row.start)} · ${Call.word(row)} ${percent(row.confidence)}`;
    const x = Math.min(Math.max(event.offsetX, 70), this.#canvas.clientWidth - 70);
    this.#hint.style.transform = `translate(${x}px, ${event.offsetY}px) translate(-50%, -140%)`;
  }

  // -- keys

  #key(event) {
    const all = this.#call.rows;
    const judged = (row) => row?.kind === "utterance" && row.state === "final";
    let row = null;
    if (event.key === "+" || event.key === "=") return this.#zoom(0.5);
    if (event.key === "-") return this.#zoom(2);
    if (event.key === "Home") row = all.find(judged);
    else if (event.key === "End") row = all.findLast(judged);
    else if (event.key === "ArrowRight" || event.key === "ArrowLeft") {
      const step = event.key === "ArrowRight" ? 1 : -1;
      let index = this.#current ? this.#current.index + step : step > 0 ? 0 : all.length - 1;
      while (all[index] && !judged(all[index])) index += step;
      row = all[index];
    } else return undefined;
    event.preventDefault();
    if (row) this.onChoose(row);
    return undefined;
  }

  // -- drawing

  draw() {
    this.#height = narrow.matches ? 36 : 52;
    const call = this.#call;
    const speakers = [...call.speakers.values()];
    if (this.#following) {
      const span = Math.min(Math.max(call.now, FIRST_MS), this.#followed);
      this.#to = Math.max(call.now, span) + 0.02 * span;
      this.#from = Math.max(0, this.#to - 1.02 * span);
    }
    const height = Math.max(1, speakers.length) * (this.#height + GAP) + AXIS;
    const style = getComputedStyle(this.#lanes);
    const colours = { ink: style.color, line: style.borderTopColor, accent: style.outlineColor };
    const context = prepared(this.#canvas, height);
    const scale = this.#scale();
    this.#axis(context, scale, height, colours);
    speakers.forEach((speaker, i) => this.#lane(context, speaker, scale, i * (this.#height + GAP) + GAP, colours));
    this.#marks(context, scale, height, colours);
    this.#drawOverview(speakers, colours);
    this.#say(speakers);
  }

  #lane(context, speaker, scale, y, { ink, line }) {
    context.strokeStyle = line;
    context.lineWidth = 1;
    context.strokeRect(-2, y + 0.5, scale.width + 4, this.#height - 1);
    if (this.#valence) {
      context.beginPath();
      context.setLineDash([2, 3]);
      context.moveTo(0, y + this.#height / 2);
      context.lineTo(scale.width, y + this.#height / 2);
      context.stroke();
      context.setLineDash([]);
      drawValence(context, speaker.series, scale, y, this.#height, ink);
    } else {
      drawEmotions(context, speaker.series, scale, y, this.#height);
    }
    for (const row of speaker.open) drawOpen(context, row, scale, this.#call.now, y, this.#height, ink);
    drawShifts(context, speaker.series, scale, y - 6, ink);
    const chosen = this.#current;
    if (chosen?.speaker === speaker.id && chosen.probabilities) {
      const x = scale.x(chosen.start);
      context.strokeStyle = ink;
      context.lineWidth = 2;
      context.strokeRect(x - 1, y - 1, Math.max(4, scale.x(chosen.end) - x), this.#height + 2);
    }
  }

  #axis(context, scale, height, { ink, line }) {
    context.font = "11px system-ui, sans-serif";
    context.textAlign = "center";
    for (const time of ticks(scale)) {
      const x = Math.round(scale.x(time)) + 0.5;
      context.strokeStyle = line;
      context.globalAlpha = 0.6;
      context.beginPath();
      context.moveTo(x, 0);
      context.lineTo(x, height - AXIS + 4);
      context.stroke();
      context.globalAlpha = 0.75;
      context.fillStyle = ink;
      context.fillText(clock(time), Math.min(Math.max(x, 16), scale.width - 16), height - 4);
      context.globalAlpha = 1;
    }
  }

  #marks(context, scale, height, { accent }) {
    context.strokeStyle = accent;
    context.lineWidth = 2;
    for (const { at_ms } of this.#call.moments) {
      const x = scale.x(at_ms);
      if (x < 0 || x > scale.width) continue;
      context.beginPath();
      context.moveTo(x, 0);
      context.lineTo(x, height - AXIS);
      context.stroke();
    }
  }

  #drawOverview(speakers, { ink }) {
    const height = Math.max(1, speakers.length) * (OVERVIEW_LANE + 2) + 2;
    const context = prepared(this.#overview, height);
    const width = this.#overview.clientWidth;
    const whole = new Scale(0, Math.max(this.#call.now, FIRST_MS), width);
    speakers.forEach((speaker, i) =>
      drawEmotions(context, speaker.series, whole, i * (OVERVIEW_LANE + 2) + 2, OVERVIEW_LANE, { faces: false }),
    );
    context.strokeStyle = ink;
    context.lineWidth = 2;
    const x = Math.max(1, whole.x(this.#from));
    context.strokeRect(x, 1, Math.max(6, Math.min(width - 1, whole.x(this.#to)) - x), height - 2);
  }

  #say(speakers) {
    const row = this.#current;
    this.#lanes.setAttribute("aria-valuemax", Math.round(this.#call.now / 1000));
    this.#lanes.setAttribute("aria-valuenow", Math.round((row ? row.start : this.#call.now) / 1000));
    this.#lanes.setAttribute("aria-valuetext", row?.kind === "utterance" ? describe(row, this.#call.speakers.get(row.speaker)) : clock(this.#call.now));
    const names = speakers.map((speaker) => speaker.name).join("\n");
    if (names === this.#namesShown) return;
    this.#namesShown = names;
    this.#names.replaceChildren(...speakers.map((speaker) => make("span", {}, make("b", {}, initials(speaker), speaker.name))));
  }
}

/** The series' utterance that `time` lies in or is closest to. */
function nearest(series, time) {
  const after = series.countBefore(time);
  const [before, next] = [after - 1, after].map((i) => (i >= 0 && i < series.length ? i : null));
  if (before === null || next === null) return series.rows[before ?? next] ?? null;
  return time - series.ends[before] <= series.starts[next] - time ? series.rows[before] : series.rows[next];
}

/** The canvas's context, cleared, in CSS pixels, as sharp as the screen. */
function prepared(canvas, height) {
  const ratio = devicePixelRatio || 1;
  const width = canvas.clientWidth;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    canvas.style.height = `${height}px`;
  }
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return context;
}
