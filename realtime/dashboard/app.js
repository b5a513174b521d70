// The page: the feed fills the call, and once a frame whatever changed is drawn.

import { Announcer } from "./announcer.js";
import { Call, clock } from "./call.js";
import { Details } from "./details.js";
import { face } from "./emotions.js";
import { Feed } from "./feed.js";
import { make } from "./make.js";
import { Moods } from "./moods.js";
import { Overlay } from "./overlay.js";
import { System } from "./system.js";
import { followSystem } from "./theme.js";
import { Timeline } from "./timeline.js";
import { Transcript } from "./transcript.js";

const parameters = new URLSearchParams(location.search);
const isOverlay = parameters.get("overlay") === "1";
document.documentElement.toggleAttribute("data-overlay", isOverlay);

const byId = (id) => document.getElementById(id);
const call = new Call();
const views = isOverlay ? [new Overlay(call)] : dashboard();

let due = false;
function wake() {
  if (due) return;
  due = true;
  requestAnimationFrame(() => {
    due = false;
    for (const view of views) view.draw();
    call.touched.clear();
    call.allTouched = false;
  });
}

const commands = new Map(); // id of a command that was sent -> what to do with its answer
let feedState = "connecting";
const feed = new Feed(address(), {
  from: 0,
  token: token(),
  onEvent: (event) => {
    if (event.type === "command.result") {
      commands.get(event.id)?.(event);
      commands.delete(event.id);
    } else {
      call.apply(event);
    }
    wake();
  },
  onState: (state, detail) => {
    feedState = state;
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

/** The token of the address the page was opened by, kept for this tab and taken out of its history. */
function token() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token") ?? parameters.get("token");
  if (given) {
    sessionStorage.setItem("token", given);
    parameters.delete("token");
    const rest = parameters.toString();
    history.replaceState(null, "", `${location.pathname}${rest ? `?${rest}` : ""}`);
  }
  return sessionStorage.getItem("token");
}

function showConnection(detail) {
  const closed = call.closed !== null;
  const words = {
    connecting: "Connecting",
    open: closed ? "Ended, still served" : "Live",
    waiting: closed ? "Ended" : detail.code === 1013 ? "Busy, trying again" : "Reconnecting",
    closed: "Closed",
  }[feedState];
  byId("connection").dataset.state = closed ? "ended" : feedState;
  if (byId("connection-words").textContent !== words) byId("connection-words").textContent = words;
}

function correct(row, emotion) {
  const id = crypto.randomUUID?.() ?? String(Math.random());
  row.refusal = null;
  const sent = feed.send({ type: "emotion.correct", id, utterance_id: row.id, emotion });
  if (sent) {
    row.pending = emotion;
    commands.set(id, (answer) => {
      row.pending = null;
      if (!answer.ok) row.refusal = answer.message;
      call.touched.add(row);
    });
  } else {
    row.refusal = "Not connected: try again when the page is.";
  }
  call.touched.add(row);
  wake();
}

function dashboard() {
  followSystem(() => wake());
  const transcript = new Transcript(call, { onChoose: (row, how) => choose(row, { from: transcript, ...how }) });
  const timeline = new Timeline(call, { onChoose: (row) => choose(row, { from: timeline }), wake: () => wake() });
  const moods = new Moods(call, { onChoose: (row) => choose(row, { enter: true }) });
  const details = new Details(call, { onCorrect: correct, onClose: () => leave() });
  const announcer = new Announcer(call);
  transcript.onScroll = () => wake();

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
      byId("legend").replaceChildren(...call.labels.map((label) => make("li", {}, face(label, 16), label)));
    },
  };
  const connection = { draw: () => showConnection({}) };
  return [frame, connection, moods, timeline, transcript, details, new System(call), announcer];
}
