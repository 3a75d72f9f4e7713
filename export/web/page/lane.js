// The course of one signal along time, under the picture: what was and is asked for; drawn by hand
// right of now, what will be.

import { valueAt } from "./controls.js";
import { AFTER_SECONDS, BEFORE_SECONDS, placeOf, sized } from "./picture.js";

/** The name of a signal for people: its unit stands beside it. */
export const titleOf = (name) => name.replace(/_bpm$/, "").replaceAll("_", " ");

export class Lane {
  /** asked: the signal; changed: hears of new points. */
  constructor(parent, asked, changed) {
    Object.assign(this, { asked, changed, points: [[0, asked.middle]], now: 0 });
    const lane = document.createElement("div"), name = document.createElement("span");
    lane.className = "lane";
    name.textContent = `${titleOf(asked.name)} (${asked.unit})`;
    this.canvas = document.createElement("canvas");
    this.canvas.setAttribute("role", "img");
    this.canvas.setAttribute("aria-label", `Curve of ${titleOf(asked.name)}; the slider sets it too`);
    lane.append(this.canvas, name);
    parent.append(lane);
    this.canvas.onpointerdown = (event) => {
      this.canvas.setPointerCapture(event.pointerId);
      this.before = undefined;
      this.trace(event);
    };
    this.canvas.onpointermove = (event) => event.buttons && this.trace(event);
  }

  /** Takes the pointer's place into the curve, in place of what was between it and the last one. */
  trace(event) {
    const box = this.canvas.getBoundingClientRect(), { minimum, maximum } = this.asked;
    const share = (event.clientX - box.left) / box.width, up = 1 - (event.clientY - box.top) / box.height;
    const seconds = this.now - BEFORE_SECONDS + share * (BEFORE_SECONDS + AFTER_SECONDS);
    if (seconds <= this.now) return;
    const value = minimum + Math.min(Math.max(up, 0), 1) * (maximum - minimum);
    const point = [Math.round(seconds * 100) / 100, Math.round(value * 1000) / 1000];
    const [from, to] = [this.before ?? point[0], point[0]].sort((a, b) => a - b);
    // The curve leaves what it was where the drawing begins.
    const kept = this.before === undefined ? [[this.now, valueAt(this.points, this.now)]] : [];
    const rest = this.points.filter(([t]) => t < from || t > to || t === this.before);
    this.points = [...rest, ...kept, point].sort(([a], [b]) => a - b);
    this.points = this.points.filter(([t], i, all) => i === 0 || t > all[i - 1][0]);
    this.before = point[0];
    this.changed(this.points);
  }

  valueAt(seconds) {
    return valueAt(this.points, Math.max(seconds, 0));
  }

  draw(now) {
    this.now = now;
    const { context, width, height, scale } = sized(this.canvas), style = getComputedStyle(this.canvas);
    const { minimum, maximum } = this.asked, margin = 4 * scale;
    const y = (v) => height - margin - (v - minimum) / (maximum - minimum) * (height - 2 * margin);
    context.clearRect(0, 0, width, height);
    context.strokeStyle = style.getPropertyValue("--curve");
    context.lineWidth = 2 * scale;
    context.beginPath();
    const end = now + AFTER_SECONDS, start = Math.max(0, now - BEFORE_SECONDS);
    const times = [start, ...this.points.map(([t]) => t).filter((t) => start < t && t < end), end];
    times.forEach((t, i) => context[i ? "lineTo" : "moveTo"](placeOf(t, now) * width, y(this.valueAt(t))));
    context.stroke();
    context.fillStyle = style.getPropertyValue("--text");
    context.fillRect(placeOf(now, now) * width - scale, 0, 2 * scale, height);
  }
}
