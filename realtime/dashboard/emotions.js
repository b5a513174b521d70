// What every emotion looks like: a colour that colour-blind people can tell apart (Okabe and Ito's palette), a
// face drawn in the same few strokes everywhere, and a word. No part of the page uses the colour alone.

const EYES = "M8.6 10v.01M15.4 10v.01";
const BROWS_UP = "M6.9 7.2c.8-1 2.4-1.2 3.2-.6M17.1 7.2c-.8-1-2.4-1.2-3.2-.6";
const BROWS_DOWN = "M6.6 6.9l3.4 1.7M17.4 6.9l-3.4 1.7";
const BROWS_SAD = "M6.6 8.5l3.2-1.7M17.4 8.5l-3.2-1.7";

const NEUTRAL = { colour: "#9aa3ad", ink: "#111", strokes: `${EYES}M8.2 15.6h7.6` };
const JOY = { colour: "#f0e442", ink: "#111", pleasant: 1, strokes: `${EYES}M7.2 13.8c1.2 3.6 8.4 3.6 9.6 0` };
const SADNESS = {
  colour: "#0072b2", ink: "#fff", pleasant: -1,
  strokes: `${EYES}${BROWS_SAD}M8 16.9c1.3-2.6 6.7-2.6 8 0`,
};
const ANGER = {
  colour: "#d55e00", ink: "#111", pleasant: -1,
  strokes: `M8.6 10.6v.01M15.4 10.6v.01${BROWS_DOWN}M8.2 16.6l2-1.2h3.6l2 1.2`,
};
const SURPRISE = {
  colour: "#56b4e9", ink: "#111",
  strokes: `${EYES}${BROWS_UP}M12 14a1.7 2.1 0 1 0 .01 0`,
};
const FEAR = {
  colour: "#cc79a7", ink: "#111", pleasant: -1,
  strokes: `${EYES}${BROWS_SAD}M7.4 16.2l1.5-1.5 1.6 1.5 1.5-1.5 1.5 1.5 1.6-1.5 1.5 1.5`,
};
const DISGUST = {
  colour: "#009e73", ink: "#111", pleasant: -1,
  strokes: "M7.2 8.8l2.6 1.3-2.6 1.3M16.8 8.8l-2.6 1.3 2.6 1.3M7.8 15.2h8.4M13.2 15.4v1.2a1.2 1.3 0 0 0 2.4 0v-1.2",
};
const EXCITED = {
  colour: "#e69f00", ink: "#111", pleasant: 1,
  strokes: `${EYES}${BROWS_UP}M7.4 13.6h9.2c-.3 4.6-8.9 4.6-9.2 0z`,
};
const FRUSTRATED = {
  colour: "#cc79a7", ink: "#111", pleasant: -1,
  strokes: `${EYES}${BROWS_DOWN}M8 16l2-1 2 1 2-1 2 1`,
};
const UNKNOWN = { colour: "#9aa3ad", ink: "#111", strokes: "M9.6 9.6c0-3.2 4.9-3.2 4.9 0 0 2-2.5 2-2.5 4M12 17v.01" };

const LOOKS = {
  neutral: NEUTRAL, joy: JOY, happy: JOY, sadness: SADNESS, sad: SADNESS, anger: ANGER, angry: ANGER,
  surprise: SURPRISE, fear: FEAR, disgust: DISGUST, excited: EXCITED, frustrated: FRUSTRATED,
};

/** Colour, ink and strokes of a label; a label of another set gets the look of a question. */
export function look(label) {
  return LOOKS[label] ?? UNKNOWN;
}

/** 1 for pleasant, -1 for unpleasant, 0 for neither (neutral, surprise, unknown labels). */
export function pleasantness(label) {
  return look(label).pleasant ?? 0;
}

/** Probability of pleasant emotions less that of unpleasant ones, -1 to 1. */
export function valence(probabilities) {
  let sum = 0;
  for (const label in probabilities) sum += probabilities[label] * pleasantness(label);
  return sum;
}

/** The most probable label. */
export function best(probabilities) {
  let found = null;
  for (const label in probabilities) {
    if (found === null || probabilities[label] > probabilities[found]) found = label;
  }
  return found;
}

const SVG = "http://www.w3.org/2000/svg";
const faces = new Map();

/** A face as an SVG element, for people who see; the word must stand beside it for all others. */
export function face(label, size = 20) {
  let made = faces.get(label);
  if (!made) {
    const { colour, ink, strokes } = look(label);
    made = document.createElementNS(SVG, "svg");
    made.setAttribute("viewBox", "0 0 24 24");
    made.setAttribute("class", "face");
    made.setAttribute("aria-hidden", "true");
    const round = document.createElementNS(SVG, "circle");
    for (const [name, value] of [["cx", 12], ["cy", 12], ["r", 10.5], ["fill", colour], ["class", "face-round"]]) {
      round.setAttribute(name, value);
    }
    const lines = document.createElementNS(SVG, "path");
    for (const [name, value] of [
      ["d", strokes], ["fill", "none"], ["stroke", ink], ["stroke-width", 1.9], ["stroke-linecap", "round"],
      ["stroke-linejoin", "round"],
    ]) {
      lines.setAttribute(name, value);
    }
    made.append(round, lines);
    faces.set(label, made);
  }
  const copy = made.cloneNode(true);
  copy.setAttribute("width", size);
  copy.setAttribute("height", size);
  return copy;
}

const paths = new Map();

/** The same face on a canvas, its middle at (x, y). */
export function drawFace(context, label, x, y, size) {
  const { colour, ink, strokes } = look(label);
  if (!paths.has(label)) paths.set(label, new Path2D(strokes));
  context.save();
  context.translate(x - size / 2, y - size / 2);
  context.scale(size / 24, size / 24);
  context.fillStyle = colour;
  context.strokeStyle = ink;
  context.beginPath();
  context.arc(12, 12, 10.5, 0, 2 * Math.PI);
  context.fill();
  context.lineWidth = 1;
  context.globalAlpha = 0.55;
  context.stroke();
  context.globalAlpha = 1;
  context.lineWidth = 1.9;
  context.lineCap = context.lineJoin = "round";
  context.stroke(paths.get(label));
  context.restore();
}
