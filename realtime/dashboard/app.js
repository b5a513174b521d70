// The page: the feed fills the call, and once a frame whatever changed is drawn.

import { Announcer } from "./views/live_region.js";
import { Call, clock } from "./state/call.js";
import { Details } from "./views/utterance_details.js";
import { face } from "./state/emotions.js";
import { Feed } from "./feed.js";
import { make } from "./views/dom.js";
import { Moods } from "./views/mood_cards.js";
import { Overlay } from "./views/overlay.js";
import { System } from "./views/system_status.js";
import { followSystem } from "./theme.js";
import { askForToken, givenToken } from "./token.js";
import { Timeline } from "./views/timeline.js";
import { Transcript } from "./views/transcript.js";

const parameters = new URLSearchParams(location.search);
const isOverlay = parameters.get("overlay") === "1";
document.documentElement.toggleAttribute("data-overlay", isOverlay);

const SILENT = new Set(["ended", "lost", "absent"]); // what a source says when nothing more comes of it
const byId = (id) => document.getElementById(id);
const call = new Call();
const views = isOverlay ? [new Overlay(call)] : dashboard();

let due = false;
let stale = []; // what the next frame draws
function wake(some = views) {
  stale = some === views || stale === views ? views : some;
  if (due) return;
  due = true;
  requestAnimationFrame(() => {
    const drawn = stale;
    [due, stale] = [false, []];
    for (const view of drawn) view.draw();
    if (drawn !== views) return;
    call.touched.clear();
    call.allTouched = false;
  });
}

let feedState = "connecting";
let opened = false;
const feed = new Feed(address(), {
  from: 0,
  token: givenToken(),
  onEvent: (event) => {
    if (!call.session) performance.mark("first event");
    call.apply(event);
    wake();
  },
  onState: (state, detail) => {
    feedState = state;
    opened ||= state === "open";
    if (state === "waiting" && !opened) tokenMissing();
    showConnection(detail);
    wake();
  },
});
addEventListener("online", () => feed.hurry());
document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && feed.hurry());

function address() {
  const url = new URL("./", location.href);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  url.search = url.hash = "";
  return url;
}

function showConnection(detail) {
  const sources = [...call.sources.values()];
  const replay = sources.find((source) => source.kind === "replay");
  const closed = call.closed !== null;
  const speaking = [...call.speakers.values()].some((speaker) => speaker.open.size > 0);
  const ended = closed || (sources.length > 0 && !speaking && sources.every(({ kind, status }) => kind !== "browser" && SILENT.has(status)));
  const words = {
    connecting: "Connecting",
    open: replay ? (ended ? "Replay, at its end" : "Replay") : ended ? "Ended, still served" : "Live",
    waiting: closed ? "Ended" : detail.code === 1013 ? "Busy, trying again" : "Reconnecting",
    closed: "Closed",
  }[feedState];
  byId("connection").dataset.state = closed || (ended && feedState === "open") ? "ended" : feedState;
  if (byId("connection-words").textContent !== words) byId("connection-words").textContent = words;
}

/** Where the feed refuses this page for want of a token, let the person give it. */
async function tokenMissing() {
  const answer = await fetch("ticket").catch(() => null);
  if (answer?.status === 401 && !isOverlay) askForToken();
}

async function correct(row, emotion) {
  row.refusal = null;
  row.pending = emotion;
  call.touched.add(row);
  wake();
  const answer = await feed.command({ type: "emotion.correct", utterance_id: row.id, emotion });
  row.pending = null;
  if (!answer.ok) row.refusal = answer.message;
  call.touched.add(row);
  wake();
}

/** A command whose result everybody sees as an event; a refusal is told to the person who gave it. */
async function command(fields, done) {
  const answer = await feed.command(fields);
  const toast = byId("toast");
  toast.textContent = answer.ok ? done : answer.message;
  toast.classList.add("shown");
  clearTimeout(command.timer);
  command.timer = setTimeout(() => toast.classList.remove("shown"), 4000);
}

function dashboard() {
  followSystem(() => wake());
  const transcript = new Transcript(call, { onChoose: (row, how) => choose(row, { from: transcript, ...how }) });
  const timeline = new Timeline(call, { onChoose: (row) => choose(row, { from: timeline }), wake: () => wake() });
  const moods = new Moods(call, {
    onChoose: (row) => choose(row, { enter: true }),
    onRename: (speaker, name) => command({ type: "speaker.rename", speaker, name }, `Shown as ${name} from now on.`),
    onOptOut: (speaker, optedOut) =>
      command({ type: "speaker.opt_out", speaker, opted_out: optedOut }, optedOut ? "No longer analysed." : "Analysed again."),
  });
  const details = new Details(call, { onCorrect: correct, onClose: () => leave() });
  const announcer = new Announcer(call);
  transcript.onScroll = () => wake([transcript]);
  byId("mark").addEventListener("click", () => command({ type: "moment.mark" }, "Marked."));

  let leftFrom = null;
  function choose(row, { from, enter = false }) {
    if (from !== transcript) transcript.choose(row, { quietly: true });
    timeline.choose(row?.kind === "utterance" ? row : null);
    if (enter) leftFrom = document.activeElement;
    details.show(row, { focus: enter });
    wake();
  }
  function leave() {
    details.show(null);
    (leftFrom?.isConnected ? leftFrom : byId("transcript")).focus();
    leftFrom = null;
    wake();
  }

  let known = null;
  const frame = {
    draw() {
      byId("elapsed").textContent = clock(call.now);
      if (known === call.created) return;
      known = call.created;
      if (!known) return;
      byId("notice-words").textContent = known.notice;
      byId("legend").replaceChildren(...call.labels.map((label) => make("li", {}, face(label, 16), label)), make("li", {}, make("span", { "aria-hidden": "true" }, "◆"), "shift"));
    },
  };
  const connection = { draw: () => showConnection({}) };
  return [frame, connection, moods, timeline, transcript, details, new System(call), announcer];
}
