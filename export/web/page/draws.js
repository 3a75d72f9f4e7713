// A piece from its seed: anchors, style and the line between anchors, the numbers of
// musika_tf/networks/coordinates.py. TensorFlow draws with Philox (Salmon et al. 2011).

const MULTIPLIER = [0xd2511f53, 0xcd9e8d57];
const WEYL = [0x9e3779b9, 0xbb67ae85];
// TensorFlow stirs a seed with this key before it draws from it.
const STIRRING_KEY = [0x3ec8f720, 0x02461e29];

/** The upper 32 bits of a product of two numbers of 32 bits. */
function upperProduct(a, b) {
  const a0 = a & 0xffff, a1 = a >>> 16, b0 = b & 0xffff, b1 = b >>> 16;
  const middle = a1 * b0 + ((a0 * b0) >>> 16);
  const carried = a0 * b1 + (middle & 0xffff);
  return (a1 * b1 + (middle >>> 16) + Math.floor(carried / 0x10000)) >>> 0;
}

/** Philox 4x32-10: four numbers of 32 bits of a counter (four) and a key (two). */
export function philox(counter, key) {
  let [c0, c1, c2, c3] = counter;
  let [k0, k1] = key;
  for (let round = 0; round < 10; round++) {
    const upper0 = upperProduct(MULTIPLIER[0], c0), upper1 = upperProduct(MULTIPLIER[1], c2);
    const lower0 = Math.imul(MULTIPLIER[0], c0) >>> 0, lower1 = Math.imul(MULTIPLIER[1], c2) >>> 0;
    [c0, c1, c2, c3] = [(upper1 ^ c1 ^ k0) >>> 0, lower1, (upper0 ^ c3 ^ k1) >>> 0, lower0];
    k0 = (k0 + WEYL[0]) >>> 0;
    k1 = (k1 + WEYL[1]) >>> 0;
  }
  return [c0, c1, c2, c3];
}

/** n draws of 32 bits that belong to a seed of two integers, negative ones too. */
function bits([seed0, seed1], n) {
  const sign = (x) => (x < 0 ? 0xffffffff : 0);
  const counter = [seed0 >>> 0, sign(seed0), seed1 >>> 0, sign(seed1)];
  const [key0, key1, upper0, upper1] = philox(counter, STIRRING_KEY);
  const drawn = new Uint32Array(n);
  for (let i = 0; i < n; i += 4) {
    const four = philox([i / 4, 0, upper0, upper1], [key0, key1]);
    for (let j = 0; j < 4 && i + j < n; j++) drawn[i + j] = four[j];
  }
  return drawn;
}

/** n uniform draws from [0, 1) with 23 bits, as tf.random.stateless_uniform's. */
export function uniform(seed, n) {
  return Float32Array.from(bits(seed, n), (x) => (x & 0x7fffff) / 0x800000);
}

/** The complement of the error function at x >= 0, to about 1e-15. */
export function erfc(x) {
  if (x < 2.5) {
    let term = x, sum = x;
    for (let n = 1; Math.abs(term) > 1e-17 * sum; n++) {
      term *= -x * x / n;
      sum += term / (2 * n + 1);
    }
    return 1 - sum * 2 / Math.sqrt(Math.PI);
  }
  // Laplace's continued fraction.
  let fraction = x;
  for (let n = 60; n > 0; n--) fraction = x + n / 2 / fraction;
  return Math.exp(-x * x) / Math.sqrt(Math.PI) / fraction;
}

const polynomial = (coefficients, x) => coefficients.reduceRight((sum, c) => sum * x + c, 0);

// Wichura 1988, algorithm AS 241 (PPND16): numerator and denominator near the middle, towards the
// tails and far out.
const MIDDLE = [
  [3.387132872796366608, 133.14166789178437745, 1971.5909503065514427, 13731.693765509461125,
    45921.953931549871457, 67265.770927008700853, 33430.575583588128105, 2509.0809287301226727],
  [1, 42.313330701600911252, 687.1870074920579083, 5394.1960214247511077, 21213.794301586595867,
    39307.89580009271061, 28729.085735721942674, 5226.495278852545925],
];
const TAIL = [
  [1.42343711074968357734, 4.6303378461565452959, 5.7694972214606914055, 3.64784832476320460504,
    1.27045825245236838258, 0.24178072517745061177, 0.0227238449892691845833,
    7.7454501427834140764e-4],
  [1, 2.05319162663775882187, 1.6763848301838038494, 0.68976733498510000455,
    0.14810397642748007459, 0.0151986665636164571966, 5.475938084995344946e-4,
    1.05075007164441684324e-9],
];
const FAR = [
  [6.6579046435011037772, 5.4637849111641143699, 1.7848265399172913358, 0.29656057182850489123,
    0.026532189526576123093, 0.0012426609473880784386, 2.71155556874348757815e-5,
    2.01033439929228813265e-7],
  [1, 0.59983220655588793769, 0.13692988092273580531, 0.0148753612908506148525,
    7.868691311456132591e-4, 1.8463183175100546818e-5, 1.4215117583164458887e-7,
    2.04426310338993978564e-15],
];

/** The inverse of the normal distribution function, to about 1e-15. */
export function inverseNormal(p) {
  const q = p - 0.5;
  if (Math.abs(q) <= 0.425) {
    const r = 0.180625 - q * q;
    return q * polynomial(MIDDLE[0], r) / polynomial(MIDDLE[1], r);
  }
  const tail = q < 0 ? p : 1 - p;
  if (tail <= 0) return q < 0 ? -Infinity : Infinity;
  let r = Math.sqrt(-Math.log(tail));
  const [above, below] = r <= 5 ? TAIL : FAR;
  r -= r <= 5 ? 1.6 : 5;
  return Math.sign(q) * polynomial(above, r) / polynomial(below, r);
}

/** n standard normal draws of a seed, cut at ±truncation. */
export function truncatedNormal(seed, n, truncation) {
  const fround = Math.fround, limit = fround(truncation);
  const below = fround(0.5 * erfc(fround(limit * fround(Math.SQRT1_2))));
  const between = fround(1 - fround(2 * below));
  return uniform(seed, n).map((u) => {
    const drawn = inverseNormal(fround(below + fround(u * between)));
    return Math.min(Math.max(drawn, -limit), limit);
  });
}

/** Draw `index` of the sequence that belongs to a seed. */
function draw(seed, index, depth, truncation) {
  return truncatedNormal([bits(seed, 1)[0] | 0, index], depth, truncation);
}

/** The style of the piece of a seed. */
export function drawStyle(seed, depth, truncation) {
  return draw(seed, 0, depth, truncation);
}

/** Anchor `index` of the piece of a seed, from 0. */
export function drawAnchor(seed, index, depth, truncation) {
  return draw(seed, 1 + index, depth, truncation);
}

/**
 * The line of a piece, from any step on.
 *
 * gan: that part of the config. Gives a function of a step and of where its coordinate goes, a
 * Float32Array [anchor_depth]; each anchor is drawn once.
 */
export function drawnLine(gan, seed, truncation) {
  const interval = 2 * gan.seq_len, depth = gan.anchor_depth, anchors = new Map();
  // Draws have no negative index: what lies before a piece is the first of them.
  const first = gan.normalisation === "patch" ? 0 : 1;
  const anchor = (number) => {
    if (!anchors.has(number)) {
      anchors.set(number, drawAnchor(seed, number + first, depth, truncation));
    }
    return anchors.get(number);
  };
  return (step, into) => {
    const number = Math.floor(step / interval), k = Math.fround(step / interval - number);
    const left = anchor(number), right = anchor(number + 1);
    for (let i = 0; i < depth; i++) into[i] = (1 - k) * left[i] + k * right[i];
  };
}
