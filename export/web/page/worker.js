// Computes music, and keeps what plays it supplied. A classic worker, because LiteRT.js loads its
// WebAssembly with importScripts.
//
// From the page:   {load: {runtime, model}}, {play: {course, startSample}}, {steer: course},
//                  {render: {course, startSample, nSamples}}, {player: port of the worklet}
// To the page:     {loading: bytes, of}, {ready: manifest, fetched: addresses}, {chunk}, {cut: sample}, {course},
//                  {rendered: waveform}, {error}
// To the worklet:  {reset: sample}, {chunk}, {cut: sample}
// From it:         {position: sample}

// So much is computed before it is heard.
const AHEAD_SECONDS = 3;
// What is steered comes in this much after what is heard, or two excerpts' time.
const LEAST_MARGIN_SECONDS = 0.25;

const modules = Promise.all(["./graphs.js", "./stream.js"].map((path) => import(path)));
let liteRt, manifest, graphs, player;
let stream, position = 0, wake = () => {};
let secondsPerExcerpt = 0.1;

const handlers = { load, play, steer, render, player: connect };

onmessage = async ({ data }) => {
  const [[name, value]] = Object.entries(data);
  try {
    await handlers[name](value);
  } catch (error) {
    postMessage({ error: String(error?.message ?? error) });
  }
};

async function load({ runtime, model }) {
  const [{ bytesOf, compiled, streamOf }] = await modules;
  const base = new URL(model, self.location);
  const described = JSON.parse(new TextDecoder().decode(await bytesOf(new URL("manifest.json", base))));
  const total = Object.values(described.graphs).reduce((sum, { bytes }) => sum + bytes, 0);
  const progress = (bytes) => postMessage({ loading: bytes, of: total });
  const names = Object.keys(described.graphs);
  const [, ...files] = await Promise.all([
    loadRuntime(new URL(runtime, self.location), streamOf),
    ...names.map((name) => bytesOf(new URL(described.graphs[name].file, base), progress)),
  ]);
  const contents = Object.fromEntries(names.map((name, i) => [name, files[i]]));
  stream = undefined;
  graphs = await compiled(liteRt, described, contents);
  manifest = described;
  const fetched = performance.getEntriesByType("resource").map(({ name }) => name);
  postMessage({ ready: manifest, fetched: [self.location.href, ...fetched] });
}

async function loadRuntime(folder, streamOf) {
  if (liteRt) return;
  const library = await import(new URL("litert.js", folder));
  const supported = await library.supportsFeature("relaxedSimd");
  const name = supported ? "litert_wasm_internal" : "litert_wasm_compat_internal";
  // Compiled while it comes.
  const body = await streamOf(new URL(`${name}.wasm.gz`, folder));
  const headers = { "content-type": "application/wasm" };
  const wasm = await WebAssembly.compileStreaming(new Response(body, { headers }));
  const instantiateWasm = (imports, done) => {
    WebAssembly.instantiate(wasm, imports).then(
      (instance) => done(instance, wasm),
      (error) => postMessage({ error: String(error) }),
    );
    return {};
  };
  // It reports on every start otherwise.
  self.Module = { instantiateWasm, print: () => {}, printErr: () => {} };
  await library.loadLiteRt(folder.href);
  liteRt = library;
}

function connect(port) {
  player = port;
  player.onmessage = ({ data }) => {
    position = data.position;
    wake();
  };
}

async function play({ course, startSample }) {
  const [, { Stream }] = await modules;
  const own = new Stream(manifest, graphs, course, startSample);
  stream = own;
  position = startSample;
  player.postMessage({ reset: startSample });
  wake();
  const ahead = AHEAD_SECONDS * manifest.sample_rate_hz;
  while (stream === own) {
    if (own.next * own.config.excerptNSamples - position > ahead) {
      await new Promise((resolve) => (wake = resolve));
      continue;
    }
    const begun = performance.now(), chunk = await own.read();
    secondsPerExcerpt = 0.7 * secondsPerExcerpt + 0.3e-3 * (performance.now() - begun);
    if (stream !== own) return;
    postMessage({ chunk });
    player.postMessage({ chunk }, chunk.waveform.map(({ buffer }) => buffer));
  }
}

function steer(course) {
  const margin = Math.max(LEAST_MARGIN_SECONDS, 2 * secondsPerExcerpt) * manifest.sample_rate_hz;
  const cut = stream.steer(course, position + margin);
  player.postMessage({ cut });
  postMessage({ cut, course: stream.course });
  wake();
}

/** A piece of a piece, as fast as it goes. */
async function render({ course, startSample, nSamples }) {
  const [, { Stream }] = await modules;
  const own = new Stream(manifest, graphs, course, startSample);
  const waveform = [0, 1].map(() => new Float32Array(nSamples));
  for (let n = 0; n < nSamples; ) {
    const { at, waveform: made } = await own.read(), from = Math.max(0, startSample - at);
    made.forEach((channel, i) => waveform[i].set(channel.subarray(from, from + nSamples - n), n));
    n += made[0].length - from;
    postMessage({ rendering: Math.min(n, nSamples), of: nSamples });
  }
  postMessage({ rendered: waveform }, waveform.map(({ buffer }) => buffer));
}
