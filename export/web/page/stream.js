// A piece as it is played: excerpt after excerpt from any time on, steered while it plays; the same
// music as musika_tf/stream.py makes.
//
//   step        …  -1   0   1   2   3   4   5   6   7   8   9  10  11  …     of the piece's line
//   courses     ───────────────────────┤ steered: style, variety, controls ───── …
//   window              ├───────── latents ─────────┤       read with context on both sides
//   excerpts            |   0   |   1   |   2   |   3   |   4   |   5   |   …
//
// A course is what a piece follows from a step on:
//   seed        [int, int]: of the anchors
//   style       [{seed, weight}, …]: the styles of pieces, mixed
//   truncation  above 0
//   controls    one a signal: see controls.js

import { drawnLine, drawStyle } from "./draws.js";
import { goingOn, limitedValueOf } from "./controls.js";
import { Synthesis } from "./spectral.js";

// Excerpts of which one may go back to the beginning.
const N_REMEMBERED = 32;

/** The config of a manifest, with the sizes that follow from it. */
export function configOf(manifest) {
  const { config } = manifest;
  const level2_ratio = config.autoencoder.level2_strides.reduce((a, b) => a * b, 1);
  const excerptNLatents = config.audio.excerpt_n_frames / level2_ratio;
  return {
    ...config,
    level2_ratio,
    excerptNLatents,
    excerptNSamples: config.audio.excerpt_n_frames * config.audio.hop_size,
    contextNSteps: manifest.context_n_latents,
    stereoLatentDepth: manifest.n_channels * config.autoencoder.level2_latent_depth,
  };
}

/** A mix of styles, as long as the styles are in the mean: independent draws. */
export function mixedStyle(style, depth, truncation) {
  const length = Math.hypot(...style.map(({ weight }) => weight)), mixed = new Float32Array(depth);
  for (const { seed, weight } of style) {
    if (weight) drawStyle(seed, depth, truncation).forEach((x, i) => (mixed[i] += x * weight / length));
  }
  return mixed;
}

export class Stream {
  /**
   * graphs: `generator` and `decoder`, each takes arrays by name and promises arrays by name.
   * course: what the piece follows; startSample: where in the piece to begin.
   */
  constructor(manifest, graphs, course, startSample = 0) {
    this.config = configOf(manifest);
    this.signals = this.config.conditioning.signals;
    this.graphs = graphs;
    const { audio, autoencoder } = this.config;
    this.synthesis = new Synthesis(audio, autoencoder.consistency_n_steps);
    this.first = Math.floor(startSample / this.config.excerptNSamples);
    // An excerpt reaches into the next one, so that before the first is decoded too.
    this.next = Math.max(0, this.first - 1);
    this.overlaps = new Map([[this.next, this.synthesis.silence()]]);
    this.courses = [this.drawn(course, -Infinity)];
    this.window = { number: NaN };
  }

  /** The next excerpt: `at`, the sample of the piece where it begins, and waveform [left, right]. */
  async read() {
    do {
      const number = this.next, { excerptNSamples } = this.config;
      const latents = await this.latents(number);
      const { real, imaginary } = await this.graphs.decoder({ latents });
      // What was steered meanwhile may have gone back.
      if (this.next !== number) continue;
      const overlap = this.overlaps.get(number);
      const made = this.synthesis.excerpt(real, imaginary, overlap);
      this.overlaps.set(number + 1, made.overlap);
      this.overlaps.delete(number - N_REMEMBERED);
      this.next = number + 1;
      if (number >= this.first) return { at: number * excerptNSamples, waveform: made.waveform };
    } while (true);
  }

  /**
   * Another course from a sample on, or from the next excerpt on that begins there or later.
   *
   * Beats go on from where they are. What was read from there on is to be thrown away: it comes
   * again. Gives the sample.
   */
  steer(course, fromSample) {
    const { excerptNSamples, excerptNLatents } = this.config;
    const asked = Math.ceil(fromSample / excerptNSamples);
    const first = Math.max(asked, this.first, this.next - N_REMEMBERED + 1);
    const number = Math.min(this.next, first), step = number * excerptNLatents;
    // What was to begin there or later never will.
    this.courses = this.courses.filter((before) => before.step < step);
    const now = this.courses[this.courses.length - 1];
    const controls = now
      ? goingOn(this.signals, now.controls, course.controls, this.config, step)
      : course.controls;
    this.courses.push(this.drawn({ ...course, controls }, now ? step : -Infinity));
    this.window = { number: NaN };
    this.next = number;
    return number * excerptNSamples;
  }

  /** The course that goes on. */
  get course() {
    const { seed, style, truncation, controls } = this.courses[this.courses.length - 1];
    return { seed, style, truncation, controls };
  }

  drawn(course, step) {
    const { gan } = this.config, { seed, style, truncation } = course;
    return {
      ...course,
      step,
      line: drawnLine(gan, seed, truncation),
      styleVector: mixedStyle(style, gan.style_depth, truncation),
    };
  }

  /** Latents of an excerpt, from the window that was made or a new one. */
  async latents(number) {
    const { excerptNLatents, gan, stereoLatentDepth } = this.config;
    const step = number * excerptNLatents, window = Math.floor(step / gan.seq_len);
    if (this.window.number !== window) {
      const made = { number: window };
      this.window = made;
      made.latents = this.graphs.generator(this.inputs(window * gan.seq_len));
    }
    const { latents } = await this.window.latents;
    const from = (step - window * gan.seq_len) * stereoLatentDepth;
    return latents.slice(from, from + excerptNLatents * stereoLatentDepth);
  }

  /** What the generator is given of the window that begins at a step. */
  inputs(start) {
    const { gan, contextNSteps } = this.config, { signals } = this;
    const n = gan.seq_len + 2 * contextNSteps, depth = gan.anchor_depth;
    const coordinates = new Float32Array(n * depth), style = new Float32Array(n * gan.style_depth);
    const conditioning = new Float32Array(n * signals.length);
    for (let i = 0; i < n; i++) {
      const step = start - contextNSteps + i, course = this.courseAt(step);
      course.line(step, coordinates.subarray(i * depth, (i + 1) * depth));
      style.set(course.styleVector, i * gan.style_depth);
      signals.forEach((signal, j) => {
        const value = limitedValueOf(signal, course.controls[j], this.config, step);
        conditioning[i * signals.length + j] = value;
      });
    }
    const inputs = { coordinates, style, start: Int32Array.of(start) };
    return signals.length ? { ...inputs, conditioning } : inputs;
  }

  courseAt(step) {
    return this.courses.findLast((course) => course.step <= step) ?? this.courses[0];
  }
}
