// The page: what people see and touch, and the player behind it.

import { Lane, titleOf } from "./lane.js";
import * as link from "./link.js";
import { Pad } from "./pad.js";
import { Picture } from "./picture.js";
import { Player } from "./player.js";
import { download, joined, wavFile } from "./wav.js";

const at = (id) => document.getElementById(id);
const player = new Player();
const pad = new Pad(at("pad"), () => steer());

// What is asked for; `controls` beside the model's signals.
const state = { seed: [0, 0], truncation: 2, controls: [], startSample: 0 };
let models = [], model, picture, lanes = [], isPlaying = false, hasBegun = false, recorded, nChanges = 0;

// Loading

async function begin() {
  models = await (await fetch("models.json")).json();
  for (const { name, bytes } of models) {
    at("model").add(new Option(`${name} (${(bytes / 1e6).toFixed(0)} MB)`, name));
  }
  open(link.read(location.hash));
}

/** Opens what an address says. */
function open(asked) {
  const wanted = models.find(({ name }) => name === asked.model) ?? models[0];
  state.asked = asked;
  state.seed = asked.seed ?? [randomSeed(), 0];
  state.truncation = asked.truncation;
  pad.style = asked.style ?? [{ seed: state.seed, weight: 1 }];
  if (model === wanted) adopt();
  else load(wanted);
}

async function load(wanted) {
  model = wanted;
  at("model").value = model.name;
  if (hasBegun) await pause();
  hasBegun = false;
  at("play").disabled = true;
  Object.assign(at("progress"), { hidden: false, value: 0 });
  state.loaded = 0;
  say(`Loading ${model.name} …`);
  at("card").textContent = model.card ? await (await fetch(model.card)).text() : "It has none.";
  player.load(model.path);
}

player.addEventListener("loading", ({ detail }) => {
  state.loaded += detail.loading;
  at("progress").value = state.loaded / detail.of;
});

player.addEventListener("ready", () => {
  at("progress").hidden = true;
  at("play").disabled = false;
  const { sample_rate_hz, seconds_per_patch, controls, weights_sha256 } = player.manifest;
  picture = new Picture(at("picture"), sample_rate_hz, seconds_per_patch);
  at("facts").textContent = `${model.name}: stereo at ${sample_rate_hz} Hz; weights ${weights_sha256.slice(0, 12)}.`;
  buildSignals(controls);
  adopt();
  say("Ready.");
});

/** Takes over what an address asked for, into a model that is loaded. */
function adopt() {
  const { controls } = player.manifest, { asked } = state;
  state.startSample = Math.round(asked.seconds * player.manifest.sample_rate_hz);
  state.controls = controls.map((signal, i) => {
    const control = asked.controls(signal) ?? { points: [[0, signal.middle]], beats: 0 };
    lanes[i].points = control.points;
    return control;
  });
  hasBegun = false;
  player.position = state.startSample;
  picture.reset(state.startSample);
  if (isPlaying) restart(state.startSample);
  show();
}

// Music

const course = () => ({
  seed: state.seed, style: pad.style, truncation: state.truncation, controls: state.controls,
});
const seconds = () => player.position / player.manifest.sample_rate_hz;

async function restart(startSample) {
  picture.reset(startSample);
  hasBegun = true;
  setPlaying(true);
  await player.open();
  await player.play(course(), startSample);
  say("");
}

async function pause() {
  setPlaying(false);
  await player.pause();
}

async function toggle() {
  if (isPlaying) return pause();
  if (!hasBegun) return restart(state.startSample);
  setPlaying(true);
  await player.resume();
}

/** Jumps to a time of the piece. */
function jump(toSeconds) {
  if (!player.manifest) return;
  const sample = Math.round(Math.min(Math.max(toSeconds, 0), link.MAX_SECONDS) * player.manifest.sample_rate_hz);
  state.startSample = player.position = sample;
  hasBegun = false;
  if (isPlaying) restart(sample);
  else picture.reset(sample);
  show();
}

let isWaiting = false, isChanged = false;
/** What was changed is heard soon: at once, but not more often than ten times a second. */
function steer() {
  show();
  if (!hasBegun) return;
  isChanged = isWaiting;
  if (isWaiting) return;
  player.steer(course());
  isWaiting = true;
  setTimeout(() => {
    isWaiting = false;
    if (isChanged) steer();
  }, 100);
}

player.addEventListener("chunk", ({ detail }) => hasBegun && picture.add(detail));
player.addEventListener("cut", ({ detail }) => picture.cut(detail));
player.addEventListener("course", ({ detail }) => {
  // The clock goes on where it was: what the worker says of it holds from now on.
  detail.controls.forEach(({ beats }, i) => (state.controls[i].beats = beats));
});
player.addEventListener("error", ({ detail }) => say(`This does not work here: ${detail}`, true));
player.addEventListener("position", () => {
  document.documentElement.dataset.underruns = player.nUnderruns;
});

// Signals

function buildSignals(controls) {
  at("signals").hidden = controls.length === 0;
  at("sliders").replaceChildren();
  at("lanes").replaceChildren();
  lanes = controls.map((signal, i) => {
    const { name, unit, minimum, maximum } = signal;
    const label = document.createElement("label"), value = document.createElement("output");
    const slider = Object.assign(document.createElement("input"), {
      type: "range", min: minimum, max: maximum, step: (maximum - minimum) / 200, name,
    });
    label.append(titleOf(name), value, slider);
    at("sliders").append(label);
    const follow = (points) => {
      state.controls[i] = { ...state.controls[i], points };
      steer();
    };
    const lane = new Lane(at("lanes"), signal, follow);
    slider.oninput = () => {
      lane.points = [[0, Number(slider.value)]];
      follow(lane.points);
    };
    lane.show = (now) => {
      const current = lane.valueAt(now);
      slider.value = current;
      value.textContent = `${Number(current.toPrecision(3))} ${unit}`;
    };
    return lane;
  });
}

// What is shown

function say(text, isWrong = false) {
  at("status").textContent = text;
  at("status").classList.toggle("wrong", isWrong);
}

function setPlaying(isOn) {
  isPlaying = isOn;
  at("play").classList.toggle("on", isOn);
  at("play").setAttribute("aria-label", isOn ? "Pause" : "Play");
  if ("mediaSession" in navigator) navigator.mediaSession.playbackState = isOn ? "playing" : "paused";
}

function clock(total) {
  const [h, m, s] = [total / 3600, (total / 60) % 60, total % 60].map((x) => Math.floor(x));
  return `${h}:${String(m).padStart(2, "0")}:${String(s).padStart(2, "0")}`;
}

/** Fields and address say what is asked for. */
function show() {
  nChanges += 1;
  at("seed").value = state.seed[1] ? state.seed.join(".") : String(state.seed[0]);
  at("variety").value = state.truncation;
  at("variety-value").textContent = state.truncation.toFixed(2);
  if (player.manifest) history.replaceState(null, "", address());
}

const address = () =>
  link.write(model.name, course(), seconds(), player.manifest.controls);

let drawn = "";
/** Draws at most thirty times a second, and only what is new: the same cores make the music. */
function frame() {
  setTimeout(() => requestAnimationFrame(frame), 1000 / 40);
  if (!player.manifest || !picture) return;
  const what = [player.position, picture.known, nChanges, innerWidth, devicePixelRatio].join();
  if (what === drawn) return;
  drawn = what;
  at("clock").textContent = clock(seconds());
  picture.draw(seconds());
  for (const lane of lanes) {
    lane.draw(seconds());
    lane.show(seconds());
  }
}

// What is touched

function piece(seed) {
  state.seed = seed;
  if (!at("keep").checked) pad.style = [{ seed, weight: 1 }];
  jump(0);
}

const randomSeed = () => Math.floor(Math.random() * 2 ** 31);
const saveWav = (waveform) =>
  download(wavFile(waveform, player.manifest.sample_rate_hz), `${model.name}-${state.seed[0]}.wav`);

at("play").onclick = toggle;
at("back").onclick = () => jump(seconds() - 30);
at("forward").onclick = () => jump(seconds() + 30);
at("another").onclick = () => piece([randomSeed(), 0]);
at("restyle").onclick = () => {
  pad.style = [{ seed: [randomSeed(), 0], weight: 1 }];
  steer();
};
at("variety").oninput = () => {
  state.truncation = Number(at("variety").value);
  steer();
};
at("volume").oninput = () => player.setVolume(Number(at("volume").value) ** 2);
at("model").onchange = () => {
  const asked = link.read(player.manifest ? address() : location.hash);
  open({ ...asked, model: at("model").value, seconds: 0 });
};
at("jump").onsubmit = (event) => {
  event.preventDefault();
  const parts = at("time").value.split(":").map(Number);
  if (parts.length <= 3 && parts.every(Number.isFinite)) jump(parts.reduce((sum, x) => 60 * sum + x, 0));
};
at("piece").onsubmit = (event) => {
  event.preventDefault();
  const [first, second = 0] = at("seed").value.split(".").map(Number);
  if (Math.max(first, second) < 2 ** 31) piece([first, second]);
};
at("share").onclick = async () => {
  history.replaceState(null, "", address());
  await navigator.clipboard?.writeText(location.href).then(
    () => say("The link is in the clipboard."),
    () => say("The link is in the address bar."),
  );
};
at("record").onclick = () => {
  if (!hasBegun) return say("Play something first.");
  const isOn = recorded === undefined;
  at("record").setAttribute("aria-pressed", isOn);
  at("record").textContent = isOn ? "Stop and save the recording" : "Record what plays";
  player.record(isOn);
  if (!isOn && recorded.length) saveWav(joined(recorded));
  recorded = isOn ? [] : undefined;
};
at("save").onsubmit = (event) => {
  event.preventDefault();
  const { sample_rate_hz } = player.manifest;
  player.render(course(), player.position, Math.round(Number(at("seconds").value) * sample_rate_hz));
};
player.addEventListener("recorded", ({ detail }) => recorded?.push(detail));
player.addEventListener("rendering", ({ detail }) => say(`Computing … ${Math.floor(100 * detail.rendering / detail.of)} %`));
player.addEventListener("rendered", ({ detail }) => {
  say("Saved.");
  saveWav(detail);
});
addEventListener("hashchange", () => open(link.read(location.hash)));
if ("mediaSession" in navigator) {
  navigator.mediaSession.metadata = new MediaMetadata({ title: "Musika" });
  for (const action of ["play", "pause"]) navigator.mediaSession.setActionHandler(action, toggle);
}
if ("serviceWorker" in navigator) {
  navigator.serviceWorker.register("offline.js").catch(() => {});
  // What was fetched before there was one.
  player.addEventListener("fetched", async ({ detail }) => {
    // Play and the links at the bottom fetch these.
    const later = ["worklet.js", "LICENSE.txt", "vendor/litert/README.md"];
    const own = performance.getEntriesByType("resource").map(({ name }) => name);
    const { active } = await navigator.serviceWorker.ready;
    const here = location.href.split("#")[0];
    active.postMessage([here, ...own, ...detail, ...later.map((path) => new URL(path, here).href)]);
  });
  navigator.serviceWorker.addEventListener("message", () => {
    at("kept").textContent = "It is kept here and plays without a network too.";
  });
}

// For whoever looks inside, tests too.
globalThis.musika = { player, state };

begin().catch((error) => say(`This does not work here: ${error.message}`, true));
requestAnimationFrame(frame);
