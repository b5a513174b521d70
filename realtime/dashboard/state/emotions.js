// What emotions look like and how pleasant they are: colours that colour-blind people can tell apart (Okabe and Ito's
// palette), a face drawn in the same few strokes everywhere, and a word. No part of the page uses the colour alone.

import looks from "./emotion_styles.js";

/** Colour, ink and strokes of a label; a label of another set gets the look of a question. */
export function look(label) {
  const found = looks[label] ?? looks.unknown;
  return found.as ? looks[found.as] : found;
}

/** 1 for pleasant, -1 for unpleasant, 0 for neither (neutral, surprise, unknown labels). */
export function pleasantness(label) {
  return look(label).pleasant;
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
