// The feed's client: connects, reconnects with back-off, and resumes after the last number that it has seen.
//
//   import { Feed } from "http://127.0.0.1:8765/feed.js";
//   for await (const event of new Feed("ws://127.0.0.1:8765/", { from: 0 })) console.log(event.type, event);

const FIRST_PAUSE_MS = 400;
const LONGEST_PAUSE_MS = 8000;
const NOT_CONNECTED = { ok: false, code: "not_connected", message: "Not connected: try again when the page is." };

/** A page cannot set headers on a socket: the token travels as a sub-protocol, which no history or log keeps. */
export function bearer(token) {
  const bytes = String.fromCharCode(...new TextEncoder().encode(token));
  return `bearer.${btoa(bytes).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "")}`;
}

/** One subscription, for as long as it is wanted. */
export class Feed {
  #url;
  #options;
  #socket = null;
  #pause = FIRST_PAUSE_MS;
  #timer = null;
  #closed = false;
  #place = null;
  #behind = false;
  #commands = 0;
  #answers = new Map(); // id of a command -> what waits for its answer

  /**
   * @param {string} url  the feed's address, ws:// or wss://
   * @param {object} options
   *   from, epoch: where to begin (0 is everything); without `from`, with the next event
   *   token: what the feed asks for, where it asks for one
   *   parameters: further query parameters (filters)
   *   onEvent(event): every message in order, but for answers to commands
   *   onState(state, detail): "connecting", "open", "waiting" {seconds, code, reason} or "closed"
   */
  constructor(url, options = {}) {
    this.#url = url;
    this.#options = options;
    if (options.from !== undefined) this.#place = { seq: options.from, epoch: options.epoch };
    this.#connect();
  }

  /** The last number seen and its epoch: what a later program can resume after. */
  get place() {
    return this.#place && { ...this.#place };
  }

  /**
   * Send a command, such as { type: "moment.mark", note: "here" }, and wait for its answer: { ok, code, message }.
   * Without a connection, or where it ends before the answer, that is { ok: false, code: "not_connected" }.
   */
  command(command) {
    if (this.#socket?.readyState !== WebSocket.OPEN) return Promise.resolve(NOT_CONNECTED);
    const id = String(++this.#commands);
    return new Promise((resolve) => {
      this.#answers.set(id, resolve);
      this.#socket.send(JSON.stringify({ ...command, id }));
    });
  }

  /** Try again at once instead of waiting for the back-off to pass. */
  hurry() {
    if (this.#timer === null) return;
    clearTimeout(this.#timer);
    this.#connect();
  }

  /** End the subscription. */
  close() {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#socket?.close();
    this.#tell("closed");
  }

  #address() {
    const address = new URL(this.#url);
    for (const [name, value] of Object.entries(this.#options.parameters ?? {})) address.searchParams.set(name, value);
    if (this.#place) {
      address.searchParams.set("from", this.#place.seq);
      if (this.#place.epoch) address.searchParams.set("epoch", this.#place.epoch);
    }
    return address;
  }

  #connect() {
    this.#timer = null;
    this.#tell("connecting");
    const { token } = this.#options;
    const socket = (this.#socket = new WebSocket(this.#address(), token ? ["emotion.v1", bearer(token)] : []));
    socket.onopen = () => {
      this.#pause = FIRST_PAUSE_MS;
      this.#behind = false;
      this.#tell("open");
    };
    socket.onmessage = ({ data }) => {
      const event = JSON.parse(data);
      if (event.type === "command.result") {
        this.#answers.get(event.id)?.(event);
        this.#answers.delete(event.id);
        return;
      }
      // Too slow: the feed tells how things stand and hangs up. This client resumes where it was instead, so nothing is
      // missing, and neither the gap nor the snapshot is passed on.
      if (event.type === "stream.gap" && event.reason === "too_slow") this.#behind = true;
      if (this.#behind) return;
      if (event.seq && event.type !== "snapshot") this.#place = { seq: event.seq, epoch: event.epoch };
      this.#options.onEvent?.(event);
    };
    socket.onclose = ({ code, reason }) => {
      for (const answer of this.#answers.values()) answer(NOT_CONNECTED);
      this.#answers.clear();
      if (this.#closed) return;
      // Half of the pause is chance, so that a thousand clients that were cut together do not return together.
      const pause = this.#pause * (0.5 + Math.random() / 2);
      this.#pause = Math.min(2 * this.#pause, LONGEST_PAUSE_MS);
      this.#timer = setTimeout(() => this.#connect(), pause);
      this.#tell("waiting", { seconds: pause / 1000, code, reason });
    };
  }

  #tell(state, detail = {}) {
    this.#options.onState?.(state, detail);
  }

  /** Every message in order, until `close`; begin to iterate at once, since what came before is gone. */
  async *[Symbol.asyncIterator]() {
    const waiting = [];
    let wake = () => {};
    const { onEvent, onState } = this.#options;
    this.#options = {
      ...this.#options,
      onEvent: (event) => (onEvent?.(event), waiting.push(event), wake()),
      onState: (state, detail) => (onState?.(state, detail), wake()),
    };
    try {
      while (!this.#closed || waiting.length) {
        if (waiting.length) yield waiting.shift();
        else await new Promise((resolve) => (wake = resolve));
      }
    } finally {
      this.close();
    }
  }
}
