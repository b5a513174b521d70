// One speaker's judged utterances in order of time, with running sums: the mean of any stretch, however long,
// costs as much as the number of labels, so the timeline costs what its pixels do and not what the call does.

const FIRST_SIZE = 256;

function grown(array, size) {
  const larger = new array.constructor(size);
  larger.set(array);
  return larger;
}

export class Series {
  constructor(labels) {
    this.labels = labels;
    this.length = 0;
    this.rows = [];
    this.starts = new Float64Array(FIRST_SIZE);
    this.ends = new Float64Array(FIRST_SIZE);
    this.sums = new Float64Array((FIRST_SIZE + 1) * labels.length);
  }

  /** Take an utterance, or take it anew where it was taken before. */
  put(row) {
    let place = row.charted ? this.rows.lastIndexOf(row) : -1;
    if (place < 0) {
      row.charted = true;
      this.#makeRoom();
      place = this.length;
      while (place > 0 && this.starts[place - 1] > row.start) place--;
      this.rows.splice(place, 0, row);
      this.length++;
    }
    for (let i = place; i < this.length; i++) this.#fill(i);
  }

  #makeRoom() {
    if (this.length < this.starts.length) return;
    const size = 2 * this.starts.length;
    this.starts = grown(this.starts, size);
    this.ends = grown(this.ends, size);
    this.sums = grown(this.sums, (size + 1) * this.labels.length);
  }

  #fill(i) {
    const row = this.rows[i];
    const width = this.labels.length;
    this.starts[i] = row.start;
    this.ends[i] = row.end;
    for (let k = 0; k < width; k++) {
      const value = row.probabilities[this.labels[k]] ?? 0;
      this.sums[(i + 1) * width + k] = this.sums[i * width + k] + value;
    }
  }

  /** How many utterances start before `time`. */
  countBefore(time) {
    let low = 0;
    let high = this.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.starts[middle] < time) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Mean probability of each label over the utterances from..to (to not included), into `out`. */
  mean(from, to, out) {
    const width = this.labels.length;
    for (let k = 0; k < width; k++) out[k] = (this.sums[to * width + k] - this.sums[from * width + k]) / (to - from);
    return out;
  }
}
