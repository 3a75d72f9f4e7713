// Plays chunks at their samples of the piece, in the audio thread.
//
// In:   {reset: sample}, {cut: sample}: what comes from there on is void, {chunk: {at, waveform}},
//       {playing}, {recording}, {worker: port}
// Out:  {position, nUnderruns}, twenty times a second; {recorded: [left, right]}, as it is played

class Player extends AudioWorkletProcessor {
  constructor() {
    super();
    Object.assign(this, { position: 0, chunks: [], isPlaying: false, isRecording: false });
    Object.assign(this, { nUnderruns: 0, hasBegun: false, nUntilReport: 0 });
    this.port.onmessage = ({ data }) => this.hear(data);
  }

  hear(data) {
    if ("worker" in data) {
      this.worker = data.worker;
      this.worker.onmessage = (event) => this.hear(event.data);
    } else if ("reset" in data) {
      Object.assign(this, { position: data.reset, chunks: [], hasBegun: false });
    } else if ("cut" in data) {
      this.chunks = this.chunks.filter(({ at }) => at < data.cut);
    } else if ("chunk" in data) {
      this.chunks.push(data.chunk);
    } else if ("playing" in data) {
      this.isPlaying = data.playing;
    } else if ("recording" in data) {
      this.isRecording = data.recording;
    }
  }

  process(_, [output]) {
    const [left, right] = output, n = left.length;
    if (this.isPlaying) this.fill(left, right ?? left, n);
    this.nUntilReport -= n;
    if (this.nUntilReport < 0) {
      this.nUntilReport = sampleRate / 20;
      const report = { position: this.position, nUnderruns: this.nUnderruns };
      this.worker?.postMessage(report);
      this.port.postMessage(report);
    }
    return true;
  }

  fill(left, right, n) {
    let filled = 0;
    while (filled < n) {
      const chunk = this.chunks[0];
      const from = chunk ? this.position - chunk.at : 0;
      if (!chunk || from < 0) {
        // Before the first chunk there is nothing to wait for that was promised.
        if (this.hasBegun) this.nUnderruns += 1;
        break;
      }
      const [l, r] = chunk.waveform, count = Math.min(n - filled, l.length - from);
      if (count > 0) {
        left.set(l.subarray(from, from + count), filled);
        right.set(r.subarray(from, from + count), filled);
        filled += count;
        this.position += count;
        this.hasBegun = true;
      }
      if (this.position >= chunk.at + l.length) this.chunks.shift();
    }
    if (this.isRecording && filled) {
      this.port.postMessage({ recorded: [left.slice(0, filled), right.slice(0, filled)] });
    }
  }
}

registerProcessor("player", Player);
