// Drawing a stretch of a speaker's lane: utterance by utterance where there is room, means of pixel columns where
// there is not. Either way the work is that of the pixels.

import { Call } from "../state/call.js";
import { drawFace, look, pleasantness } from "../state/emotions.js";

const COLUMN = 2; // pixels of one mean
const FACE_ROOM = 26;

/** A view of the call's time: `x(ms)` and `time(x)` between pixels and milliseconds. */
export class Scale {
  constructor(from, to, width) {
    Object.assign(this, { from, to, width, perPixel: (to - from) / Math.max(1, width) });
  }

  x(time) {
    return (time - this.from) / this.perPixel;
  }

  time(x) {
    return this.from + x * this.perPixel;
  }
}

function stack(context, labels, values, x, width, y, height) {
  let bottom = y + height;
  for (let k = 0; k < labels.length; k++) {
    const part = values[k] * height;
    if (part < 0.3) continue;
    context.fillStyle = look(labels[k]).colour;
    context.fillRect(x, bottom - part, width, part);
    bottom -= part;
  }
}

/** Calls `each(x, width, from, to)` for every column of the scale in which utterances of the series lie. */
function columns(series, scale, each) {
  let from = Math.max(0, series.countBefore(scale.from) - 1);
  for (let x = 0; x < scale.width && from < series.length; x += COLUMN) {
    const end = scale.time(x + COLUMN);
    if (series.starts[from] >= end) continue;
    // Utterances that reach into the column from before it count too: at the most the last of those.
    const to = series.countBefore(end);
    from = Math.max(from, series.countBefore(scale.time(x)) - 1);
    if (series.ends[from] <= scale.time(x)) from++;
    if (to > from) each(x, COLUMN, from, to);
  }
}

/** Whether the utterances in sight are wide enough to be drawn one by one. */
function roomy(series, scale) {
  const count = series.countBefore(scale.to) - series.countBefore(scale.from);
  return count < scale.width / 6;
}

function visible(series, scale) {
  return [Math.max(0, series.countBefore(scale.from) - 1), series.countBefore(scale.to)];
}

/** Stacked probabilities, the first label at the bottom. */
export function drawEmotions(context, series, scale, y, height, { faces = true } = {}) {
  const values = new Float64Array(series.labels.length);
  if (!roomy(series, scale)) {
    columns(series, scale, (x, width, from, to) => stack(context, series.labels, series.mean(from, to, values), x, width, y, height));
    return;
  }
  const [first, end] = visible(series, scale);
  for (let i = first; i < end; i++) {
    const x = scale.x(series.starts[i]);
    const width = Math.max(2, scale.x(series.ends[i]) - x - 1);
    if (x + width < 0) continue;
    const row = series.rows[i];
    stack(context, series.labels, series.mean(i, i + 1, values), x, width, y, height);
    if (faces && width >= FACE_ROOM && height >= FACE_ROOM) drawFace(context, Call.emotion(row), x + width / 2, y + height / 2, 22);
  }
}

/** Valence as a line through the utterances, pleasant above the middle. */
export function drawValence(context, series, scale, y, height, ink) {
  const weights = series.labels.map(pleasantness);
  const values = new Float64Array(series.labels.length);
  const middle = y + height / 2;
  const points = [];
  const point = (x, from, to) => {
    series.mean(from, to, values);
    let sum = 0;
    for (let k = 0; k < weights.length; k++) sum += weights[k] * values[k];
    points.push([x, middle - (sum * height) / 2]);
  };
  if (roomy(series, scale)) {
    let [first, end] = visible(series, scale);
    end = Math.min(end + 1, series.length); // the line leaves the picture towards what comes next
    first = Math.max(0, first - 1);
    for (let i = first; i < end; i++) point(scale.x((series.starts[i] + series.ends[i]) / 2), i, i + 1);
  } else {
    columns(series, scale, (x, width, from, to) => point(x + width / 2, from, to));
  }
  context.strokeStyle = ink;
  context.lineWidth = 2;
  context.lineJoin = "round";
  context.beginPath();
  for (const [x, at] of points) context.lineTo(x, at);
  context.stroke();
  if (points.length < scale.width / 6) {
    const [first] = visible(series, scale);
    const from = Math.max(0, first - 1);
    points.forEach(([x, at], i) => drawFace(context, Call.emotion(series.rows[from + i]), x, at, 16));
  }
}

/** Diamonds above the utterances with which an emotion shifted; those too close to the last one are left out. */
export function drawShifts(context, series, scale, y, ink) {
  const [first, end] = visible(series, scale);
  if (end - first > 4 * scale.width) return;
  let last = -Infinity;
  context.fillStyle = ink;
  for (let i = first; i < end; i++) {
    if (!series.rows[i].shift) continue;
    const x = scale.x(series.starts[i]) + 4;
    if (x - last < 9) continue;
    last = x;
    context.beginPath();
    context.moveTo(x, y - 4);
    context.lineTo(x + 4, y);
    context.lineTo(x, y + 4);
    context.lineTo(x - 4, y);
    context.fill();
  }
}

/** Hatched: somebody is speaking, or the judgement is provisional. */
export function drawOpen(context, row, scale, now, y, height, ink) {
  const x = scale.x(row.start);
  const width = Math.max(4, scale.x(Math.max(row.end, now)) - x);
  context.save();
  context.beginPath();
  context.rect(x, y, width, height);
  context.clip();
  if (row.emotion) {
    context.globalAlpha = 0.45;
    context.fillStyle = look(row.emotion).colour;
    context.fillRect(x, y, width, height);
    context.globalAlpha = 1;
  }
  context.strokeStyle = ink;
  context.globalAlpha = 0.5;
  context.lineWidth = 1;
  context.beginPath();
  for (let d = -height; d < width; d += 6) {
    context.moveTo(x + d, y + height);
    context.lineTo(x + d + height, y);
  }
  context.stroke();
  context.restore();
}

const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600].map((seconds) => seconds * 1000);

/** Times that are round numbers, at least `apart` pixels from each other. */
export function ticks(scale, apart = 80) {
  const step = STEPS.find((one) => one / scale.perPixel >= apart) ?? STEPS.at(-1);
  const found = [];
  for (let time = Math.ceil(scale.from / step) * step; time <= scale.to; time += step) found.push(time);
  return found;
}
