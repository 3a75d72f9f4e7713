// The address of a page says what plays: model, seed, time, style, variety and controls.
//
//   #model=techno&seed=1.0&time=3600&variety=2&style=1.0:0.7,1.1:0.3&tempo_bpm=0:120,30:140

const DEFAULT_TRUNCATION = 2;
const MAX_SEED = 2 ** 31 - 1;
// As musika_tf/stream.py has it.
export const MAX_SECONDS = 4e6;

const rounded = (x) => String(Math.round(x * 1e4) / 1e4);

function seedOf(text) {
  const seed = (text ?? "").split(".").map(Number);
  const isSeed = seed.length === 2 && seed.every((x) => Number.isInteger(x) && 0 <= x && x <= MAX_SEED);
  return isSeed ? seed : undefined;
}

function within(value, minimum, maximum, otherwise) {
  return Number.isFinite(value) ? Math.min(Math.max(value, minimum), maximum) : otherwise;
}

/** The course, time and model in seconds of an address's fragment; what is wrong in it is left out. */
export function read(fragment) {
  const given = new URLSearchParams(fragment.replace(/^#/, ""));
  const number = (name) => (given.has(name) ? Number(given.get(name)) : NaN);
  const seed = seedOf(given.get("seed"));
  const style = (given.get("style") ?? "").split(",").flatMap((part) => {
    const [name, weight] = part.split(":"), styleSeed = seedOf(name);
    return styleSeed && Number(weight) > 0 ? [{ seed: styleSeed, weight: Number(weight) }] : [];
  });
  return {
    model: given.get("model") ?? undefined,
    seed,
    seconds: within(number("time"), 0, MAX_SECONDS, 0),
    truncation: within(number("variety"), 0.05, 10, DEFAULT_TRUNCATION),
    style: style.length ? style : undefined,
    controls: (asked) => controlOf(asked, given),
  };
}

/** The control of an asked-for signal, or undefined. */
function controlOf(asked, given) {
  const points = (given.get(asked.name) ?? "").split(",").flatMap((part) => {
    const [time, value] = part.includes(":") ? part.split(":").map(Number) : [0, Number(part)];
    const isPoint = part && Number.isFinite(time) && Number.isFinite(value);
    return isPoint ? [[time, within(value, asked.minimum, asked.maximum)]] : [];
  });
  points.sort(([a], [b]) => a - b);
  const beats = Number(given.get(`${asked.name}_beats`) ?? 0);
  return points.length ? { points, beats: Number.isFinite(beats) ? beats : 0 } : undefined;
}

/** The fragment that `read` takes. */
export function write(model, course, seconds, asked) {
  const words = [`model=${encodeURIComponent(model)}`, `seed=${course.seed.join(".")}`];
  words.push(`time=${rounded(seconds)}`, `variety=${rounded(course.truncation)}`);
  const style = course.style.filter(({ weight }) => weight > 0);
  words.push(`style=${style.map((s) => `${s.seed.join(".")}:${rounded(s.weight)}`).join(",")}`);
  asked.forEach(({ name }, i) => {
    const { points, beats } = course.controls[i];
    words.push(`${name}=${points.map((p) => p.map(rounded).join(":")).join(",")}`);
    if (beats) words.push(`${name}_beats=${beats}`);
  });
  return `#${words.join("&")}`;
}
