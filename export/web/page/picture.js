// What is heard as a scrolling log-mel spectrogram. The line is now; right of it is what is computed
// already.

import { FFT, hann } from "./spectral.js";

const WINDOW = 2048, HOP = 512, N_BANDS = 96, N_COLUMNS = 2048;
const LOWEST_HZ = 40;
// Of what is drawn, so much lies before now.
export const BEFORE_SECONDS = 14, AFTER_SECONDS = 10;
// Dark to light, with rising lightness: red, green, blue.
const COLOURS = [[11, 9, 16], [60, 20, 90], [140, 41, 110], [215, 80, 75], [247, 150, 70], [252, 236, 175]];
const QUIETEST_DB = -75, LOUDEST_DB = -5;

/** Where on a canvas a time lies: 0 to 1. */
export const placeOf = (seconds, now) =>
  (seconds - now + BEFORE_SECONDS) / (BEFORE_SECONDS + AFTER_SECONDS);

/** Sets a canvas to as many pixels as it covers on the screen; gives its context and size. */
export function sized(canvas) {
  const scale = globalThis.devicePixelRatio || 1;
  const width = Math.round(canvas.clientWidth * scale), height = Math.round(canvas.clientHeight * scale);
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  return { context: canvas.getContext("2d"), width, height, scale };
}

export class Picture {
  constructor(canvas, sampleRate, patchSeconds) {
    Object.assign(this, { canvas, sampleRate, patchSeconds });
    this.fft = new FFT(WINDOW);
    this.bands = melBands(sampleRate);
    this.hann = hann(WINDOW);
    this.columns = new OffscreenCanvas(N_COLUMNS, N_BANDS);
    this.drawing = this.columns.getContext("2d");
    this.samples = new Float32Array(2 ** Math.ceil(Math.log2(10 * sampleRate)));
    this.reset(0);
  }

  /** Nothing is known but that it goes on from a sample. */
  reset(sample) {
    this.begin = this.end = Math.ceil(sample / HOP);
    this.known = sample;
    this.samples.fill(0);
  }

  /** What was known from a sample on is void. */
  cut(sample) {
    this.known = Math.min(this.known, sample);
    this.end = Math.max(this.begin, Math.min(this.end, Math.floor((sample - WINDOW / 2) / HOP)));
  }

  /** A chunk {at, waveform}. */
  add({ at, waveform: [left, right] }) {
    const mask = this.samples.length - 1;
    left.forEach((x, n) => (this.samples[(at + n) & mask] = (x + right[n]) / 2));
    this.known = at + left.length;
    for (; this.end * HOP + WINDOW / 2 <= this.known; this.end++) this.drawColumn(this.end);
    this.begin = Math.max(this.begin, this.end - N_COLUMNS);
  }

  drawColumn(column) {
    const re = new Float64Array(WINDOW), im = new Float64Array(WINDOW), mask = this.samples.length - 1;
    const first = column * HOP - WINDOW / 2;
    for (let n = 0; n < WINDOW; n++) re[n] = first + n < 0 ? 0 : this.samples[(first + n) & mask] * this.hann[n];
    this.fft.transform(re, im);
    const image = this.drawing.createImageData(1, N_BANDS);
    this.bands.forEach((weights, band) => {
      let power = 0;
      for (const [bin, weight] of weights) power += weight * (re[bin] ** 2 + im[bin] ** 2);
      const db = 10 * Math.log10(power / (WINDOW / 4) ** 2 + 1e-12);
      image.data.set(colourOf((db - QUIETEST_DB) / (LOUDEST_DB - QUIETEST_DB)), 4 * (N_BANDS - 1 - band));
    });
    this.drawing.putImageData(image, column % N_COLUMNS, 0);
  }

  /** Draws what lies around a time. */
  draw(now) {
    const { context, width, height, scale } = sized(this.canvas), perSecond = this.sampleRate / HOP;
    context.fillStyle = "#0b0910";
    context.fillRect(0, 0, width, height);
    context.imageSmoothingEnabled = true;
    const first = Math.max(this.begin, Math.floor((now - BEFORE_SECONDS) * perSecond));
    const last = Math.min(this.end, Math.ceil((now + AFTER_SECONDS) * perSecond));
    for (let column = first; column < last; ) {
      const count = Math.min(last - column, N_COLUMNS - (column % N_COLUMNS));
      const [x0, x1] = [column, column + count].map((c) => placeOf(c / perSecond, now) * width);
      context.drawImage(this.columns, column % N_COLUMNS, 0, count, N_BANDS, x0, 0, x1 - x0, height);
      column += count;
    }
    const nowX = placeOf(now, now) * width;
    context.fillStyle = "#0b091066";
    context.fillRect(nowX, 0, width, height);
    // Where the generator's patches meet.
    context.fillStyle = "#ffffff40";
    const patch = this.patchSeconds;
    for (let t = Math.ceil((now - BEFORE_SECONDS) / patch) * patch; t < now + AFTER_SECONDS; t += patch) {
      if (t > 0) context.fillRect(placeOf(t, now) * width, 0, scale, height);
    }
    context.fillStyle = "#ffffff";
    context.fillRect(nowX - scale, 0, 2 * scale, height);
  }
}

function colourOf(share) {
  const at = Math.min(Math.max(share, 0), 1) * (COLOURS.length - 1), low = Math.min(Math.floor(at), COLOURS.length - 2);
  return [...COLOURS[low].map((c, i) => c + (COLOURS[low + 1][i] - c) * (at - low)), 255];
}

/** Triangles on the mel scale: for each band its bins with their weights, which sum to one. */
function melBands(sampleRate) {
  const mel = (hz) => 2595 * Math.log10(1 + hz / 700), hz = (m) => 700 * (10 ** (m / 2595) - 1);
  const low = mel(LOWEST_HZ), high = mel(sampleRate / 2);
  const edges = Array.from({ length: N_BANDS + 2 }, (_, i) => hz(low + (high - low) * i / (N_BANDS + 1)) * WINDOW / sampleRate);
  return Array.from({ length: N_BANDS }, (_, band) => {
    const [left, middle, right] = edges.slice(band, band + 3), weights = [];
    for (let bin = Math.ceil(left); bin <= right && bin <= WINDOW / 2; bin++) {
      const rise = (bin - left) / (middle - left), fall = (right - bin) / (right - middle);
      weights.push([bin, Math.min(rise, fall)]);
    }
    const sum = weights.reduce((total, [, w]) => total + w, 0);
    // A band narrower than a bin is that bin.
    return sum > 0 ? weights.map(([bin, w]) => [bin, w / sum]) : [[Math.round(middle), 1]];
  });
}
