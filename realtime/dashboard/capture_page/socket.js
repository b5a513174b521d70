// The capture page's end of the socket: the message format of realtime/sources/browser/wire.py, back-off, and what is
// kept back where the connection is too slow, pictures first.

import { bearer } from "../feed.js";

const VERSION = 1;
const NUMBERS = { microphone: 1, tab: 2, camera: 3 };
const HEADER = 16;
const FIRST_PAUSE_MS = 400;
const LONGEST_PAUSE_MS = 8000;
const PICTURES_WAIT = 64 * 1024; // bytes that are still to be sent
const SOUND_WAITS = 512 * 1024;
const LARGEST_PICTURE = 128 * 1024;
const HELD_MS = 5000; // a connection that held for so long begins anew with a short pause
const BROKEN = new Set([1003, 1007, 1009]); // it would be so again

/** What the session wants of this page: { sources, ... }; or { wrong, status } in words. */
export async function wishes(token) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  let answer;
  try {
    answer = await fetch("capture/wishes", { headers, cache: "no-store" });
  } catch {
    return { status: 0, wrong: "The program cannot be reached: is it still running?" };
  }
  if (answer.ok) return answer.json();
  const known = {
    401: token ? "The token is wrong: type the one that the program was started with." : "This program asks for its token.",
    404: "This session takes no sound from a browser: start the program with --source browser.",
  };
  return { status: answer.status, wrong: known[answer.status] ?? `The program refuses this page: ${(await answer.text()).trim()}.` };
}

/** One sending, for as long as it is wanted; connects again with back-off. */
export class Link {
  #sources;
  #token;
  #onState;
  #socket = null;
  #timer = null;
  #pause = FIRST_PAUSE_MS;
  #closed = false;
  #pictures = 0;

  /** `onState(state, words)`: "connecting", "open", "slow", "waiting" or "refused", with a sentence or nothing. */
  constructor(sources, token, onState) {
    [this.#sources, this.#token, this.#onState] = [sources, token, onState];
    this.#connect();
  }

  /** Whether it makes sense to take a picture now. */
  get hasRoom() {
    return this.#socket?.readyState === WebSocket.OPEN && this.#socket.bufferedAmount < PICTURES_WAIT;
  }

  /** PCM s16le at `rate`, of which `first` is the number of the first sample. */
  sound(source, first, rate, samples) {
    if (this.#socket?.readyState !== WebSocket.OPEN) return;
    if (this.#socket.bufferedAmount > SOUND_WAITS) {
      this.#onState("slow", "The connection is too slow: sound is being lost.");
      return;
    }
    this.#send(source, rate, first, samples.length * 2, (view) => {
      for (let at = 0; at < samples.length; at++) view.setInt16(HEADER + 2 * at, samples[at], true);
    });
  }

  /** A JPEG as an ArrayBuffer, and when it was taken, by performance.now(). */
  picture(jpeg, taken) {
    const number = this.#pictures++; // one that is kept back is missed by its number
    if (!this.hasRoom || jpeg.byteLength > LARGEST_PICTURE) return;
    this.#send("camera", 0, number, jpeg.byteLength, (view) => new Uint8Array(view.buffer).set(new Uint8Array(jpeg), HEADER), taken);
  }

  /** Send no more. */
  close() {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#socket?.close(1000);
  }

  /** Try again at once instead of waiting for the back-off to pass. */
  hurry() {
    if (this.#timer === null) return;
    clearTimeout(this.#timer);
    this.#connect();
  }

  #send(source, rate, count, length, fill, taken = performance.now()) {
    const view = new DataView(new ArrayBuffer(HEADER + length));
    view.setUint8(0, VERSION);
    view.setUint8(1, NUMBERS[source]);
    view.setUint16(2, rate, true);
    view.setUint32(4, taken, true);
    view.setBigUint64(8, BigInt(count), true);
    fill(view);
    this.#socket.send(view.buffer);
  }

  async #connect() {
    this.#timer = null;
    this.#onState("connecting");
    const wanted = await wishes(this.#token);
    if (this.#closed) return;
    if (wanted.wrong) {
      if (wanted.status === 401 || wanted.status === 404) return this.#onState("refused", wanted.wrong);
      return this.#later(wanted.wrong);
    }
    const url = new URL("capture/feed", location.href);
    url.protocol = url.protocol.replace("http", "ws");
    url.hash = "";
    url.search = new URLSearchParams({ sources: this.#sources.join(",") });
    const socket = (this.#socket = new WebSocket(url, this.#token ? ["capture.v1", bearer(this.#token)] : ["capture.v1"]));
    let opened = Infinity;
    socket.onopen = () => {
      opened = performance.now();
      this.#onState("open");
    };
    socket.onclose = ({ code, reason }) => {
      if (this.#closed) return;
      if (performance.now() - opened > HELD_MS) this.#pause = FIRST_PAUSE_MS;
      if (BROKEN.has(code)) return this.#onState("refused", `The program does not understand this page (${reason}): reload it.`);
      this.#later(reason ? `The program says: ${reason}.` : "The connection was cut.");
    };
  }

  #later(words) {
    const pause = this.#pause * (0.5 + Math.random() / 2);
    this.#pause = Math.min(2 * this.#pause, LONGEST_PAUSE_MS);
    this.#timer = setTimeout(() => this.#connect(), pause);
    this.#onState("waiting", `${words} Trying again.`);
  }
}
