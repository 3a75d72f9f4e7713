// What a conditional model follows along time, as musika_tf/conditioning has it: a control is a
// list of points [seconds, value], between which there are straight lines. Of the clock it is the
// tempo, and `beats` is where the clock stands when the piece begins.

/** Time of the centre of a latent step, in seconds. */
export function centreSeconds(config, step) {
  const { window_size, hop_size, sample_rate_hz } = config.audio;
  const hop = hop_size * config.level2_ratio;
  return (Math.floor((window_size - hop_size) / 2) + hop * (step + 0.5)) / sample_rate_hz;
}

/** The value of straight lines between points, held before the first and after the last. */
export function valueAt(points, seconds) {
  if (seconds <= points[0][0]) return points[0][1];
  for (let i = 1; i < points.length; i++) {
    const [t0, v0] = points[i - 1], [t1, v1] = points[i];
    if (seconds < t1) return v0 + (v1 - v0) * (seconds - t0) / (t1 - t0);
  }
  return points[points.length - 1][1];
}

/** Integral of the lines from time 0; before it what is there is held. */
export function area(points, until) {
  if (until < 0) return until * valueAt(points, 0);
  const times = points.map(([t]) => t).filter((t) => 0 < t && t < until);
  let sum = 0, before = 0;
  for (const t of [...times, until]) {
    sum += (t - before) * (valueAt(points, before) + valueAt(points, t)) / 2;
    before = t;
  }
  return sum;
}

/** The value of a signal at a latent step, in its unit; of the clock in beats, any number. */
export function valueOf(signal, control, config, step) {
  const seconds = centreSeconds(config, step);
  if (signal.rate === "beats") return (control.beats ?? 0) + area(control.points, seconds) / 60;
  return valueAt(control.points, Math.max(seconds, 0));
}

/** The same, inside the range of the signal: of the clock without whole bars. */
export function limitedValueOf(signal, control, config, step) {
  const value = valueOf(signal, control, config, step), { minimum, maximum } = signal;
  if (signal.rate === "beats") return value - Math.floor(value / maximum) * maximum;
  return Math.min(Math.max(value, minimum), maximum);
}

/** `after` for a piece that followed `before` up to a step: the clock goes on from there. */
export function goingOn(signals, before, after, config, step) {
  return signals.map((signal, i) => {
    if (signal.rate !== "beats") return after[i];
    const [old, now] = [before[i], after[i]].map((c) => valueOf(signal, c, config, step));
    return { ...after[i], beats: (after[i].beats ?? 0) + old - now };
  });
}
