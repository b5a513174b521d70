// What the browser hands over with the person's consent: each source opens with a sentence where it does not, hands on
// what it gives, and tells when it is gone.

const RATE = 16000; // Hz, which the program's models hear
const AS_IT_IS = { echoCancellation: false, noiseSuppression: false, autoGainControl: false }; // feelings are in the nuances

const WRONG = {
  NotAllowedError: (what) => `The browser was told not to hand over the ${what}: allow it beside the address, and start again.`,
  NotFoundError: (what) => `There is no ${what}: plug one in, and start again.`,
  NotReadableError: (what) => `The ${what} is held by another program: close that one, and start again.`,
};

/** Something that cannot be had; its message is for people. */
export class Unavailable extends Error {}

/** Why a page opened like this gets no microphone at all; empty where it does. */
export function insecure() {
  if (navigator.mediaDevices) return "";
  return "Browsers hand over microphones only to pages of their own computer or over TLS: start the program with --certificate and --key, and open https.";
}

async function asked(what, promise) {
  try {
    return await promise;
  } catch (error) {
    throw new Unavailable(WRONG[error.name]?.(what) ?? `The ${what} cannot be had (${error.message}).`);
  }
}

async function running(options) {
  const context = new AudioContext(options);
  await context.audioWorklet.addModule("capture_page/audio_worklet.js");
  // A phone call or the system may suspend it.
  context.onstatechange = () => context.state === "suspended" && context.resume();
  await context.resume();
  return context;
}

/** Calls `onStretch({ first, rate, samples, level })` for each stretch of a stream's sound; returns what ends that. */
async function listened(stream, onStretch) {
  let context = await running({ sampleRate: RATE });
  let source;
  try {
    source = context.createMediaStreamSource(stream);
  } catch {
    await context.close(); // a browser that cannot resample: then the program does
    context = await running();
    source = context.createMediaStreamSource(stream);
  }
  ticking(context, onStretch, source);
  return () => context.close();
}

function ticking(context, onStretch, source = null) {
  const node = new AudioWorkletNode(context, "capture");
  source?.connect(node);
  node.connect(context.destination); // it plays silence; unconnected it would not run
  node.port.onmessage = ({ data }) => onStretch({ ...data, rate: context.sampleRate });
}

function whenGone(stream, onGone) {
  for (const track of stream.getTracks()) track.addEventListener("ended", onGone);
}

function ended(stream, end) {
  return () => {
    for (const track of stream.getTracks()) track.stop();
    end();
  };
}

/** The microphone; returns what ends it. Unavailable where there is none. */
export async function microphone({ onStretch, onGone }) {
  const stream = await asked("microphone", navigator.mediaDevices.getUserMedia({ audio: { ...AS_IT_IS } }));
  whenGone(stream, onGone);
  return ended(stream, await listened(stream, onStretch));
}

/** The sound of a tab that the person chooses; returns what ends it. */
export async function tab({ onStretch, onGone }) {
  if (!navigator.mediaDevices.getDisplayMedia) throw new Unavailable("This browser shares no tabs: use Chrome or Edge on a computer.");
  const asking = navigator.mediaDevices.getDisplayMedia({
    video: true, // no browser shares sound alone
    audio: { ...AS_IT_IS, suppressLocalAudioPlayback: false },
    selfBrowserSurface: "exclude",
    systemAudio: "include",
  });
  const stream = await asked("tab", asking);
  for (const track of stream.getVideoTracks()) {
    track.stop();
    stream.removeTrack(track);
  }
  if (!stream.getAudioTracks().length) throw new Unavailable("That tab was shared without its sound: start again and let its sound be shared too.");
  whenGone(stream, onGone);
  return ended(stream, await listened(stream, onStretch));
}

/** The camera, shown in `preview`; `onPicture(jpeg, taken)` gets as many as the program asks for. */
export async function camera({ onPicture, onGone, hasRoom, preview, perSecond, largestSide }) {
  const wanted = { width: { ideal: largestSide }, height: { ideal: Math.round(largestSide * 0.75) }, facingMode: "user" };
  const stream = await asked("camera", navigator.mediaDevices.getUserMedia({ video: wanted }));
  whenGone(stream, onGone);
  preview.srcObject = stream;
  preview.hidden = false;
  await preview.play();
  const canvas = new OffscreenCanvas(1, 1);
  const brush = canvas.getContext("2d", { alpha: false });
  let due = 0;
  let busy = false;
  async function take() {
    const taken = performance.now();
    if (busy || taken < due || !preview.videoWidth || !hasRoom()) return;
    busy = true;
    due = Math.max(due + 1000 / perSecond, taken);
    const scale = Math.min(1, largestSide / Math.max(preview.videoWidth, preview.videoHeight));
    canvas.width = Math.floor(preview.videoWidth * scale);
    canvas.height = Math.floor(preview.videoHeight * scale);
    brush.drawImage(preview, 0, 0, canvas.width, canvas.height);
    try {
      const jpeg = await canvas.convertToBlob({ type: "image/jpeg", quality: 0.8 });
      onPicture(await jpeg.arrayBuffer(), taken);
    } finally {
      busy = false;
    }
  }
  const clock = await running();
  ticking(clock, take);
  return ended(stream, () => {
    preview.srcObject = null;
    preview.hidden = true;
    clock.close();
  });
}
