// Stereo waveforms as WAV files of 16 bits.

/** left, right: Float32Arrays in [-1, 1]. */
export function wavFile([left, right], sampleRate) {
  const n = left.length, view = new DataView(new ArrayBuffer(44 + 4 * n));
  const text = (at, word) => [...word].forEach((c, i) => view.setUint8(at + i, c.charCodeAt(0)));
  text(0, "RIFF");
  view.setUint32(4, 36 + 4 * n, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true);
  view.setUint16(22, 2, true);
  view.setUint32(24, sampleRate, true);
  view.setUint32(28, 4 * sampleRate, true);
  view.setUint16(32, 4, true);
  view.setUint16(34, 16, true);
  text(36, "data");
  view.setUint32(40, 4 * n, true);
  [left, right].forEach((channel, c) => {
    for (let i = 0; i < n; i++) {
      const sample = Math.max(-32768, Math.min(32767, Math.round(channel[i] * 32768)));
      view.setInt16(44 + 4 * i + 2 * c, sample, true);
    }
  });
  return new Blob([view], { type: "audio/wav" });
}

/** Joins what was recorded piece by piece: [[left, right], …] → [left, right]. */
export function joined(pieces) {
  const n = pieces.reduce((sum, [left]) => sum + left.length, 0);
  const whole = [new Float32Array(n), new Float32Array(n)];
  let at = 0;
  for (const piece of pieces) {
    piece.forEach((channel, i) => whole[i].set(channel, at));
    at += piece[0].length;
  }
  return whole;
}

/** Lets the browser save it. */
export function download(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
