// From spectra to sound, as musika_tf/spectral.py does it. Both channels go through one complex
// FFT: left is the real part, right the imaginary part of what it transforms.

// Below this share of the power that is asked for, a phase is not trusted.
const CONSISTENCY_FLOOR = 0.01;
// A power that no magnitude lies below.
const LEAST_POWER = 1e-3 * Math.exp(-10);

/** Complex Fourier transforms of one size, a power of two; Stockham's, four at a time. */
export class FFT {
  constructor(size) {
    if (size < 4 || size & (size - 1)) throw new Error(`a window of ${size} is no power of two`);
    this.size = size;
    this.cosine = Float64Array.from({ length: size }, (_, i) => Math.cos(2 * Math.PI * i / size));
    this.sine = Float64Array.from({ length: size }, (_, i) => -Math.sin(2 * Math.PI * i / size));
    this.scratch = [new Float64Array(size), new Float64Array(size)];
  }

  /** Transforms Float64Arrays in place; with `im, re` in their places, it is the inverse, times size. */
  transform(re, im) {
    let [x, y, u, v] = [re, im, ...this.scratch];
    let length = this.size, stride = 1;
    for (; length >= 4; length /= 4, stride *= 4) {
      this.pass4(x, y, u, v, length / 4, stride);
      [x, y, u, v] = [u, v, x, y];
    }
    if (length === 2) {
      for (let q = 0; q < stride; q++) {
        u[q] = x[q] + x[q + stride];
        v[q] = y[q] + y[q + stride];
        u[q + stride] = x[q] - x[q + stride];
        v[q + stride] = y[q] - y[q + stride];
      }
      [x, y] = [u, v];
    }
    if (x !== re) {
      re.set(x);
      im.set(y);
    }
  }

  pass4(x, y, u, v, quarter, stride) {
    const { cosine, sine } = this;
    for (let p = 0; p < quarter; p++) {
      const w = p * stride, c1 = cosine[w], s1 = sine[w], c2 = cosine[2 * w], s2 = sine[2 * w];
      const c3 = cosine[3 * w], s3 = sine[3 * w];
      for (let q = 0; q < stride; q++) {
        const a = q + stride * p, b = a + stride * quarter, c = b + stride * quarter;
        const d = c + stride * quarter, to = q + stride * 4 * p;
        const acRe = x[a] + x[c], acIm = y[a] + y[c], amRe = x[a] - x[c], amIm = y[a] - y[c];
        const bdRe = x[b] + x[d], bdIm = y[b] + y[d], bmRe = y[d] - y[b], bmIm = x[b] - x[d];
        u[to] = acRe + bdRe;
        v[to] = acIm + bdIm;
        const e1 = amRe - bmRe, f1 = amIm - bmIm, e2 = acRe - bdRe, f2 = acIm - bdIm;
        const e3 = amRe + bmRe, f3 = amIm + bmIm;
        u[to + stride] = e1 * c1 - f1 * s1;
        v[to + stride] = e1 * s1 + f1 * c1;
        u[to + 2 * stride] = e2 * c2 - f2 * s2;
        v[to + 2 * stride] = e2 * s2 + f2 * c2;
        u[to + 3 * stride] = e3 * c3 - f3 * s3;
        v[to + 3 * stride] = e3 * s3 + f3 * c3;
      }
    }
  }
}

export const hann = (size) =>
  Float64Array.from({ length: size }, (_, n) => 0.5 - 0.5 * Math.cos(2 * Math.PI * n / size));

/** Spectra of excerpts → waveforms that join. */
export class Synthesis {
  /** audio: that part of the config; nSteps: by which phases are made consistent. */
  constructor(audio, nSteps) {
    const size = audio.window_size, hop = audio.hop_size, nFrames = audio.excerpt_n_frames;
    Object.assign(this, { size, hop, nFrames, nSteps, nBins: size / 2 + 1 });
    this.overlapSize = size - hop;
    this.nSamples = nFrames * hop;
    this.fft = new FFT(size);
    this.re = new Float64Array(size);
    this.im = new Float64Array(size);
    this.window = hann(size);
    this.sum = [0, 1].map(() => new Float64Array(this.nSamples + this.overlapSize));
    // What an overlap-add of windowed frames weighs samples with, at the ends and in the middle.
    this.weights = new Float64Array(this.nSamples + this.overlapSize);
    for (let f = 0; f < nFrames; f++) {
      this.window.forEach((w, n) => (this.weights[f * hop + n] += w * w));
    }
    const whole = Float64Array.from({ length: hop }, (_, n) => {
      let squares = 0;
      for (let i = n; i < size; i += hop) squares += this.window[i] ** 2;
      return squares;
    });
    this.synthesisWindow = this.window.map((w, n) => w / whole[n % hop]);
    this.weights = this.weights.map((w) => Math.max(w, 1e-3));
  }

  /**
   * An excerpt.
   *
   * real, imaginary: Float32Array [2, nFrames, nBins], changed here. overlap: what the excerpt
   * before left over, [2][overlapSize]. Gives the waveform [2][nSamples] in [-1, 1], and the next
   * overlap.
   */
  excerpt(real, imaginary, overlap) {
    if (this.nSteps > 0) this.makeConsistent(real, imaginary);
    this.overlapAdd(real, imaginary, this.synthesisWindow);
    const waveform = this.sum.map((sum, channel) => {
      const limited = new Float32Array(this.nSamples), before = overlap[channel];
      for (let n = 0; n < this.overlapSize; n++) sum[n] += before[n];
      for (let n = 0; n < this.nSamples; n++) limited[n] = Math.min(Math.max(sum[n], -1), 1);
      return limited;
    });
    return { waveform, overlap: this.sum.map((sum) => sum.slice(this.nSamples)) };
  }

  /** Moves phases towards those of a waveform and keeps the magnitudes (Griffin & Lim 1984). */
  makeConsistent(real, imaginary) {
    const { weights, sum: [left, right] } = this, magnitudes = new Float32Array(real.length);
    for (let i = 0; i < real.length; i++) {
      const power = real[i] * real[i] + imaginary[i] * imaginary[i];
      magnitudes[i] = Math.sqrt(Math.max(power, LEAST_POWER));
    }
    for (let step = 0; step < this.nSteps; step++) {
      this.overlapAdd(real, imaginary, this.window);
      for (let n = 0; n < weights.length; n++) {
        left[n] /= weights[n];
        right[n] /= weights[n];
      }
      this.shortTimeTransform(real, imaginary);
      for (let i = 0; i < real.length; i++) {
        const power = real[i] * real[i] + imaginary[i] * imaginary[i];
        const least = CONSISTENCY_FLOOR * magnitudes[i] * magnitudes[i];
        const gain = magnitudes[i] / Math.sqrt((power + least) / (1 + CONSISTENCY_FLOOR));
        real[i] *= gain;
        imaginary[i] *= gain;
      }
    }
  }

  /** Inverse transforms of all frames, windowed and added up in `sum`. */
  overlapAdd(real, imaginary, window) {
    const { size, hop, nFrames, nBins, re, im } = this, [left, right] = this.sum;
    left.fill(0);
    right.fill(0);
    for (let frame = 0; frame < nFrames; frame++) {
      const l = frame * nBins, r = l + nFrames * nBins, half = size / 2;
      re[0] = real[l];
      im[0] = real[r];
      re[half] = real[l + half];
      im[half] = real[r + half];
      for (let k = 1; k < half; k++) {
        re[k] = real[l + k] - imaginary[r + k];
        im[k] = imaginary[l + k] + real[r + k];
        re[size - k] = real[l + k] + imaginary[r + k];
        im[size - k] = real[r + k] - imaginary[l + k];
      }
      this.fft.transform(im, re);
      for (let n = 0, at = frame * hop; n < size; n++, at++) {
        left[at] += re[n] * window[n] / size;
        right[at] += im[n] * window[n] / size;
      }
    }
  }

  /** Windowed frames of `sum`, transformed. */
  shortTimeTransform(real, imaginary) {
    const { size, hop, nFrames, nBins, re, im, window } = this, [left, right] = this.sum;
    for (let frame = 0; frame < nFrames; frame++) {
      for (let n = 0, at = frame * hop; n < size; n++, at++) {
        re[n] = left[at] * window[n];
        im[n] = right[at] * window[n];
      }
      this.fft.transform(re, im);
      const l = frame * nBins, r = l + nFrames * nBins;
      for (let k = 0; k < nBins; k++) {
        const m = (size - k) % size;
        real[l + k] = (re[k] + re[m]) / 2;
        imaginary[l + k] = (im[k] - im[m]) / 2;
        real[r + k] = (im[k] + im[m]) / 2;
        imaginary[r + k] = (re[m] - re[k]) / 2;
      }
    }
  }

  /** The overlap before the first excerpt. */
  silence() {
    return [0, 1].map(() => new Float64Array(this.overlapSize));
  }
}
