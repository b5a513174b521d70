// The page that sends this browser's microphone, another tab's sound and the camera to the program, while asked to.

import { Link, wishes } from "./socket.js";
import { Unavailable, camera, insecure, microphone, tab } from "./media_devices.js";
import { followSystem } from "../theme.js";
import { askForToken, givenToken } from "../token.js";

const OPEN = { tab, microphone, camera }; // in this order: a tab can only be asked for right after a click
const GONE = {
  microphone: "The microphone has gone; it is used again when it is back.",
  tab: "The tab is no longer shared: press Stop, and start again.",
  camera: "The camera has gone; it is used again when it is back.",
};
const QUIETEST_DB = -60;

const byId = (id) => document.getElementById(id);
const token = givenToken();
const opened = new Map(); // source -> what ends it
const lost = new Set();
const levels = new Map();
let link = null;
let round = 0; // of pressing Start and Stop: what was asked for in an earlier one is not wanted any more
let wanted = { sources: [] };

followSystem(() => {});
byId("machine").textContent = location.host;
byId("choice").addEventListener("submit", (event) => (event.preventDefault(), start()));
byId("choice").addEventListener("change", offer);
byId("stop").addEventListener("click", () => stop(""));
byId("copy").addEventListener("click", copy);
navigator.mediaDevices?.addEventListener("devicechange", findAgain);
addEventListener("online", () => link?.hurry());
begin();

async function begin() {
  wanted = await wishes(token);
  if (wanted.status === 401) askForToken();
  tell(wanted.wrong ?? insecure());
  for (const box of boxes()) {
    box.disabled = Boolean(wanted.wrong) || !wanted.sources.includes(box.value);
    if (box.disabled && !wanted.wrong) mark(box.value, "", "This session does not use it.");
  }
  offer();
}

async function start() {
  const mine = ++round;
  const chosen = Object.keys(OPEN).filter((name) => boxes().some((box) => box.value === name && box.checked));
  tell("");
  sending(true);
  show("connecting", "Asking this browser");
  for (const name of chosen) if (mine === round) await open(name);
  if (mine !== round) return;
  if (!opened.size) return stop("Nothing of it could be had, so nothing is sent.");
  link = new Link([...opened.keys()], token, follow);
  draw();
}

async function open(name) {
  const mine = round;
  mark(name, "", "Waiting for your consent.");
  try {
    const end = await OPEN[name]({
      onStretch: ({ first, rate, samples, level }) => {
        levels.set(name, level);
        link?.sound(name, first, rate, samples);
      },
      onPicture: (jpeg, taken) => link?.picture(jpeg, taken),
      onGone: () => gone(name),
      hasRoom: () => Boolean(link?.hasRoom),
      preview: byId("preview"),
      perSecond: wanted.pictures_per_second,
      largestSide: wanted.largest_side,
    });
    if (mine !== round) return end();
    opened.set(name, end);
    mark(name, "sent", link ? "Being sent." : "Ready.");
  } catch (error) {
    if (!(error instanceof Unavailable)) throw error;
    if (mine === round) mark(name, "wrong", error.message);
  }
}

function gone(name) {
  if (!opened.has(name)) return;
  opened.get(name)();
  opened.delete(name);
  levels.delete(name);
  mark(name, "wrong", GONE[name]);
  if (name !== "tab") lost.add(name);
}

/** A device came back: what was lost is opened again, without another click. */
async function findAgain() {
  for (const name of [...lost]) {
    lost.delete(name);
    await open(name);
    if (link && !opened.has(name)) lost.add(name);
  }
}

function stop(words) {
  round++;
  link?.close();
  link = null;
  for (const end of opened.values()) end();
  opened.clear();
  lost.clear();
  levels.clear();
  for (const box of boxes()) if (!words && !box.disabled) mark(box.value, "", "");
  tell(words);
  show("ended", "Nothing is sent");
  sending(false);
}

function follow(state, words = "") {
  if (state === "refused") return stop(words);
  tell(words);
  if (state === "slow") return;
  show(state, { connecting: "Connecting", open: "Sending", waiting: "Not connected" }[state]);
  for (const name of opened.keys()) mark(name, state === "open" ? "sent" : "", state === "open" ? "Being sent." : "Not sent now.");
}

function draw() {
  for (const meter of document.querySelectorAll(".source meter")) {
    const level = levels.get(meter.closest(".source").dataset.source) ?? 0;
    meter.value = level ? Math.max(0, 1 - (20 * Math.log10(level)) / QUIETEST_DB) : 0;
  }
  if (link) requestAnimationFrame(draw);
}

function boxes() {
  return [...byId("choice").querySelectorAll("input[type=checkbox]")];
}

function offer() {
  byId("start").disabled = Boolean(insecure()) || !boxes().some((box) => box.checked && !box.disabled);
}

function sending(is) {
  byId("start").hidden = is;
  byId("stop").hidden = !is;
  for (const box of boxes()) box.disabled = is || !wanted.sources?.includes(box.value);
  (is ? byId("stop") : byId("start")).focus();
}

function show(state, words) {
  byId("connection").dataset.state = state;
  say("connection-words", words);
}

function mark(name, state, words) {
  document.querySelector(`.source[data-source=${name}]`).dataset.state = state;
  say(`${name}-state`, words);
}

function tell(words) {
  say("wrong", words);
}

/** What stands there already is not announced again. */
function say(id, words) {
  if (byId(id).textContent !== words) byId(id).textContent = words;
}

async function copy() {
  const words = byId("notice").textContent.replaceAll(/\s+/g, " ").trim();
  try {
    await navigator.clipboard.writeText(words);
    byId("copy").textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(byId("notice"));
  }
}
