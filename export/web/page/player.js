// What the page sees of the music: a worker that computes, and an audio context that plays.

/** Emits events: ready, fetched, loading, chunk, cut, course, position, recorded, rendering, rendered, error. */
export class Player extends EventTarget {
  constructor() {
    super();
    this.worker = new Worker(new URL("./worker.js", import.meta.url));
    this.worker.onmessage = ({ data }) => this.hear(data);
    this.worker.onerror = (event) => this.emit("error", event.message);
    this.position = 0;
    this.nUnderruns = 0;
  }

  emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  hear(message) {
    if (message.ready) this.manifest = message.ready;
    for (const name of ["ready", "fetched", "chunk", "cut", "course", "rendered", "error"]) {
      if (name in message) this.emit(name, message[name]);
    }
    for (const name of ["loading", "rendering"]) if (name in message) this.emit(name, message);
  }

  /** Loads a model by the address of its folder; `ready` comes when it can play. */
  load(model) {
    this.manifest = undefined;
    this.worker.postMessage({ load: { runtime: "vendor/litert/", model } });
  }

  /** Opens the audio output at the rate of the model. Browsers want a user's gesture for it. */
  async open() {
    const sampleRate = this.manifest.sample_rate_hz;
    if (this.context?.sampleRate === sampleRate) return;
    await this.context?.close();
    this.context = new AudioContext({ sampleRate, latencyHint: "playback" });
    await this.context.audioWorklet.addModule(new URL("./worklet.js", import.meta.url));
    this.node = new AudioWorkletNode(this.context, "player", { outputChannelCount: [2] });
    this.volume = new GainNode(this.context, { gain: this.gain ?? 1 });
    this.node.connect(this.volume).connect(this.context.destination);
    const { port1, port2 } = new MessageChannel();
    this.node.port.postMessage({ worker: port1 }, [port1]);
    this.worker.postMessage({ player: port2 }, [port2]);
    this.node.port.onmessage = ({ data }) => {
      if (data.recorded) return this.emit("recorded", data.recorded);
      Object.assign(this, data);
      this.emit("position", data);
    };
  }

  /** Begins a piece, or another place of it. */
  play(course, startSample) {
    this.position = startSample;
    this.worker.postMessage({ play: { course, startSample } });
    return this.resume();
  }

  async resume() {
    this.node.port.postMessage({ playing: true });
    await this.context.resume();
  }

  async pause() {
    this.node.port.postMessage({ playing: false });
    await this.context.suspend();
  }

  /** Changes what the piece follows, as soon as it can be heard. */
  steer(course) {
    this.worker.postMessage({ steer: course });
  }

  record(isOn) {
    this.node.port.postMessage({ recording: isOn });
  }

  /** Computes a part of a piece beside what is played; `rendered` brings it. */
  render(course, startSample, nSamples) {
    this.worker.postMessage({ render: { course, startSample, nSamples } });
  }

  setVolume(gain) {
    this.gain = gain;
    if (this.volume) this.volume.gain.value = gain;
  }
}
