// A field between four styles: those of the first four pieces of a seed.

const CORNERS = [[0, 0], [1, 0], [0, 1], [1, 1]];

export class Pad {
  /** changed: hears that the style is another. */
  constructor(element, changed) {
    Object.assign(this, { element, changed, seed: 0, x: 0, y: 0 });
    this.handle = element.appendChild(document.createElement("i"));
    const point = (event) => {
      const box = element.getBoundingClientRect();
      this.move((event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height);
    };
    element.onpointerdown = (event) => {
      element.setPointerCapture(event.pointerId);
      point(event);
    };
    element.onpointermove = (event) => event.buttons && point(event);
    element.onkeydown = (event) => {
      const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
      if (!step) return;
      event.preventDefault();
      this.move(this.x + step[0] / 20, this.y + step[1] / 20);
    };
    this.show();
  }

  move(x, y) {
    // Two digits, so that an address says exactly what is heard.
    [this.x, this.y] = [x, y].map((v) => Math.round(100 * Math.min(Math.max(v, 0), 1)) / 100);
    this.show();
    this.changed();
  }

  show() {
    this.handle.style.left = `${100 * this.x}%`;
    this.handle.style.top = `${100 * this.y}%`;
    const words = this.style.map(({ weight }, i) => `${Math.round(100 * weight)} % style ${i + 1}`);
    this.element.setAttribute("aria-valuenow", Math.round(100 * this.x));
    this.element.setAttribute("aria-valuetext", words.filter((w) => !w.startsWith("0 ")).join(", "));
  }

  /** Of a course. */
  get style() {
    return CORNERS.map(([x, y], i) => {
      const weight = (x ? this.x : 1 - this.x) * (y ? this.y : 1 - this.y);
      return { seed: [this.seed, i], weight: Math.round(weight * 1e4) / 1e4 };
    });
  }

  /** Goes to where a style of a course lies. */
  set style(style) {
    this.seed = style[0].seed[0];
    const weights = [0, 0, 0, 0];
    for (const { seed: [, corner], weight } of style) if (corner < 4) weights[corner] = weight;
    const sum = weights.reduce((a, b) => a + b, 0) || 1;
    [this.x, this.y] = [weights[1] + weights[3], weights[2] + weights[3]].map((w) => Math.round(100 * w / sum) / 100);
    this.show();
  }
}
