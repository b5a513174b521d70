// The call as the events tell it: speakers, utterances, sources, troubles. Nothing here touches the page, and no
// event costs more in a long call than in a short one.

import { best, valence } from "./emotions.js";
import { Series } from "./prefix_sums.js";

const TREND_UTTERANCES = 24;
const DISAGREES_AT = 0.4;

/** What a modality says on its own that the whole does not, where it is sure enough to matter. */
function disagreements(event) {
  const found = [];
  for (const [modality, opinion] of Object.entries(event.modalities ?? {})) {
    if (!opinion.probabilities) continue;
    const own = best(opinion.probabilities);
    if (own !== event.emotion && opinion.probabilities[own] >= DISAGREES_AT) {
      found.push({ modality, emotion: own, confidence: opinion.probabilities[own] });
    }
  }
  return found;
}

export class Call {
  constructor() {
    this.reset();
  }

  /** Begin anew, as with another session. */
  reset() {
    this.session = null;
    this.created = null;
    this.labels = [];
    this.rows = []; // utterances and notes, in the order in which they began
    this.utterances = new Map();
    this.speakers = new Map();
    this.merged = new Map(); // speakers who proved to be another, by whom
    this.seats = 0; // speakers ever seen: each gets a sign of its own
    this.sources = new Map();
    this.modalities = new Map();
    this.degraded = new Map();
    this.moments = [];
    this.closed = null;
    this.now = 0;
    this.judged = 0;
    this.discarded = 0;
    this.latencies = [];
    this.touched = new Set(); // rows that changed since the page was last drawn
    this.generation = (this.generation ?? 0) + 1;
  }

  /** Take one message of the feed. */
  apply(event) {
    if (event.session && this.session !== event.session) {
      if (this.session !== null) this.reset();
      this.session = event.session;
    }
    this.#handlers[event.type]?.call(this, event);
  }

  #handlers = {
    "session.created": (event) => this.#create(event),
    "speech.started": (event) => {
      const row = this.#row(event);
      row.start = event.start_ms;
      row.end = Math.max(row.end, event.start_ms);
      this.#tick(event.start_ms);
      this.#touch(row);
    },
    "speech.ended": (event) => {
      const row = this.#row(event);
      row.ended = true;
      row.end = event.end_ms;
      this.#tick(event.end_ms);
      this.#touch(row);
    },
    "emotion.provisional": (event) => this.#judge(event, "provisional"),
    "emotion.final": (event) => this.#judge(event, "final"),
    "emotion.corrected": (event) => {
      const row = this.utterances.get(event.utterance_id);
      if (!row) return;
      row.correction = event.to;
      row.pending = null;
      this.#touch(row);
    },
    "utterance.discarded": (event) => {
      const row = this.utterances.get(event.utterance_id);
      this.discarded++;
      this.#tick(event.end_ms);
      if (!row || row.state === "final") return;
      this.#drop(row);
    },
    "emotion.shift": (event) => {
      const row = this.utterances.get(event.utterance_id);
      if (!row) return;
      row.shift = { from: event.from, to: event.to };
      this.#touch(row);
    },
    "source.status": (event) => this.sources.set(event.source, { ...this.sources.get(event.source), ...event }),
    "modality.status": (event) => this.modalities.set(`${event.modality} ${event.speaker ?? ""}`, event),
    "stream.degraded": (event) => {
      this.degraded.set(event.what, event);
      this.#note(
        event.recovered ? "info" : "warning",
        `${event.recovered ? "Recovered" : "Degraded"}: ${event.what.replaceAll("_", " ")}` +
          `${event.count ? `, ${event.count} lost` : ""}. ${event.detail ?? ""}`,
      );
    },
    "stream.gap": (event) => this.#note("warning", `Some events are missing here (${event.reason.replaceAll("_", " ")}).`),
    "speaker.merged": (event) => {
      const [gone, into] = [this.speakers.get(event.speaker), this.#speaker(event.into)];
      if (!gone || gone === into) return void this.merged.set(event.speaker, into.id);
      const before = [gone.name, into.name];
      this.#merge(gone, into);
      this.#note("info", `${before[0]} proved to be ${before[1]}: one voice, shown as one person.`);
    },
    "speaker.renamed": (event) => {
      const speaker = this.#speaker(event.speaker);
      speaker.name = event.name || speaker.id; // empty: its bearer has opted out since
      this.allTouched = true;
    },
    "speaker.opted_out": (event) => {
      const speaker = this.#speaker(event.speaker);
      speaker.optedOut = event.opted_out;
      if (event.opted_out) {
        speaker.name = speaker.id;
        for (const row of this.utterances.values()) {
          if (row.speaker === speaker.id && row.text) Object.assign(row, { text: null, event: { ...row.event, text: null } });
        }
        this.allTouched = true;
      }
      this.#note("info", `${speaker.name} is ${event.opted_out ? "no longer" : "again"} analysed.`);
    },
    "moment.marked": (event) => {
      this.moments.push(event);
      this.#note("mark", event.note ? `Marked: ${event.note}` : "Marked", event.at_ms);
    },
    error: (event) => this.#note("error", event.message),
    "session.closed": (event) => {
      this.closed = event;
      for (const speaker of this.speakers.values()) for (const row of speaker.open) this.#drop(row);
      this.#note("info", `The session is over (${event.reason.replaceAll("_", " ")}).`);
    },
    snapshot: (event) => this.#restore(event),
  };

  #create(event) {
    this.created = event;
    this.labels = event.labels.labels;
    for (const source of event.sources) this.sources.set(source.source, { ...source, ...this.sources.get(source.source) });
  }

  #restore(snapshot) {
    if (snapshot.created && !this.created) this.#create(snapshot.created);
    for (const state of snapshot.speakers ?? []) {
      const speaker = this.#speaker(state.speaker);
      if (state.name) speaker.name = state.name;
      speaker.optedOut = state.opted_out ?? false;
      for (const id of state.merged ?? []) {
        const gone = this.speakers.get(id);
        if (gone && gone !== speaker) this.#merge(gone, speaker);
        else this.merged.set(id, speaker.id);
      }
      for (const point of state.trend ?? []) {
        if (this.utterances.get(point.utterance_id)?.state !== "final") {
          this.#judge({ ...point, speaker: state.speaker, modalities: {}, known: false }, "final");
        }
      }
      speaker.count = Math.max(speaker.count, state.utterances ?? 0);
    }
    for (const open of snapshot.open ?? []) this.#row(open).ended = open.end_ms !== undefined;
    for (const source of snapshot.sources ?? []) this.sources.set(source.source, { ...this.sources.get(source.source), ...source });
    for (const one of snapshot.modalities ?? []) this.modalities.set(`${one.modality} ${one.speaker ?? ""}`, one);
    for (const one of snapshot.degraded ?? []) this.degraded.set(one.what, one);
    if (snapshot.closed) this.closed = snapshot.closed;
  }

  #judge(event, state) {
    const row = this.#row(event);
    if (row.state === "final" && state === "provisional") return;
    const first = row.state !== "final";
    const speaker = this.#speaker(event.speaker);
    if (row.speaker !== speaker.id) this.#open(row, false);
    Object.assign(row, {
      state,
      speaker: speaker.id,
      start: event.start_ms,
      end: event.end_ms,
      text: event.text ?? null,
      emotion: event.emotion,
      confidence: event.confidence,
      probabilities: event.probabilities,
      valence: valence(event.probabilities),
      disagreements: disagreements(event),
      event,
    });
    if (event.shift) row.shift = event.shift;
    this.#tick(event.end_ms);
    this.#touch(row);
    speaker.latest = row;
    if (state !== "final") return;
    this.#open(row, false);
    speaker.series.put(row);
    if (!first) return;
    speaker.count++;
    this.judged++;
    speaker.trend.push(row);
    if (speaker.trend.length > TREND_UTTERANCES) speaker.trend.shift();
    if (event.latency_ms) {
      this.latencies.push(event.latency_ms.total);
      if (this.latencies.length > 50) this.latencies.shift();
    }
  }

  #row(event) {
    let row = this.utterances.get(event.utterance_id);
    if (!row) {
      row = {
        kind: "utterance", id: event.utterance_id, index: this.rows.length, state: "open", ended: false, speaker: this.#speaker(event.speaker).id,
        start: event.start_ms, end: event.start_ms, text: null, probabilities: null, disagreements: [],
        shift: null, correction: null, pending: null, event: null,
      };
      this.utterances.set(row.id, row);
      this.rows.push(row);
      this.#open(row, true);
    }
    return row;
  }

  /** An utterance that came to nothing: it leaves the page. */
  #drop(row) {
    const speaker = this.#speaker(row.speaker);
    row.state = "discarded";
    this.#open(row, false);
    if (speaker.latest === row) speaker.latest = speaker.trend.at(-1) ?? null;
    this.#touch(row);
  }

  #open(row, isOpen) {
    const { open } = this.#speaker(row.speaker);
    if (isOpen) open.add(row);
    else open.delete(row);
  }

  /** Two speakers were one person: all that one said is the other's, past and open. */
  #merge(gone, into) {
    this.speakers.delete(gone.id);
    for (const [id, by] of this.merged) if (by === gone.id) this.merged.set(id, into.id);
    this.merged.set(gone.id, into.id);
    for (const row of this.rows) if (row.speaker === gone.id) row.speaker = into.id;
    for (const row of gone.open) into.open.add(row);
    for (const [key, { speaker }] of this.modalities) if (speaker === gone.id) this.modalities.delete(key);
    const byStart = (a, b) => a.start - b.start;
    const series = new Series(this.labels);
    for (const row of [...into.series.rows, ...gone.series.rows].sort(byStart)) {
      row.charted = false;
      series.put(row);
    }
    into.series = series;
    into.trend = [...into.trend, ...gone.trend].sort(byStart).slice(-TREND_UTTERANCES);
    if (gone.latest && !(into.latest?.start > gone.latest.start)) into.latest = gone.latest;
    into.count += gone.count;
    into.optedOut ||= gone.optedOut;
    if (into.name === into.id) into.name = gone.name === gone.id ? into.name : gone.name;
    this.allTouched = true;
  }

  #speaker(named) {
    const id = this.merged.get(named) ?? named;
    let speaker = this.speakers.get(id);
    if (!speaker) {
      speaker = {
        id, name: id, number: this.seats++, optedOut: false, count: 0, latest: null, trend: [], open: new Set(),
        series: new Series(this.labels),
      };
      this.speakers.set(id, speaker);
    }
    return speaker;
  }

  #note(level, text, at = this.now) {
    const row = { kind: "note", id: `n${this.rows.length}`, index: this.rows.length, level, text: text.trim(), start: at };
    this.rows.push(row);
    this.#touch(row);
  }

  #touch(row) {
    this.touched.add(row);
  }

  #tick(ms) {
    if (ms > this.now) this.now = ms;
  }

  /** A speaker by id, also by one that proved to be this speaker's; undefined where nobody has it. */
  speaker(id) {
    return this.speakers.get(this.merged.get(id) ?? id);
  }

  /** What goes on in an utterance that has no final: "speaking" until it has ended, then "being judged". */
  static progress(row) {
    return row.ended ? "being judged" : "speaking";
  }

  /** The same of a speaker; "" where nothing goes on. */
  static activity(speaker) {
    const open = [...speaker.open];
    return open.length ? Call.progress(open.find((row) => !row.ended) ?? open[0]) : "";
  }

  /** What an utterance is shown to express: the correction where a person made one. */
  static emotion(row) {
    return row.correction ?? row.emotion;
  }

  /** The same in words: a guess below the model's own bar is called one. */
  static word(row) {
    return row.event?.uncertain && !row.correction ? `perhaps ${row.emotion}` : Call.emotion(row);
  }

  /** "lighter", "heavier" or "steady": mean valence of a speaker's last three utterances against the six before. */
  static trend(speaker) {
    const points = speaker.trend;
    if (points.length < 4) return null;
    const mean = (rows) => rows.reduce((sum, row) => sum + row.valence, 0) / rows.length;
    const change = mean(points.slice(-3)) - mean(points.slice(-9, -3));
    return change > 0.15 ? "lighter" : change < -0.15 ? "heavier" : "steady";
  }
}

/** Milliseconds of media time as 3:07 or 1:02:45. */
export function clock(ms) {
  const seconds = Math.floor(ms / 1000);
  const two = (number) => String(number).padStart(2, "0");
  const hours = Math.floor(seconds / 3600);
  const minutes = Math.floor(seconds / 60) % 60;
  return hours ? `${hours}:${two(minutes)}:${two(seconds % 60)}` : `${minutes}:${two(seconds % 60)}`;
}

export function percent(probability) {
  return `${Math.round(100 * probability)} %`;
}
