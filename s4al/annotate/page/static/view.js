// What the canvas shows: the picture at a whole number of screen pixels a pixel, the labels over it, and what the tool
// at hand is about to do. Knows the labels, changes none.

import { OPEN, UNTOUCHED, segmentBoxes } from "./labels.js";

const MOST_ZOOM = 64;

export class View {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d", { alpha: false });
    this.region = null;
    this.colours = [];
    this.opacity = 0.5;
    this.brightness = 1;
    this.auto = true; // a dark region is shown brighter
    this.showLabels = true;
    this.showUncertainty = false;
    this.highlight = null; // a class shown alone
    this.hint = null; // {patch, colour} | {brush: [y, x, diameter]} | {polygon: [[y, x], ...], closing}
    this.cross = null; // [y, x] of the keyboard's pointer
    this.close = false; // whether the region alone fills the stage
    this.level = 1;
    this.scale = 1;
    this.origin = [0, 0]; // screen position of the view's corner, y and x
    this.drawn = null; // called once after the next drawing
    new ResizeObserver(() => this.#resize()).observe(canvas);
  }

  // region: {about, arrays, view, labels}
  show(region) {
    this.region = region;
    this.hint = null;
    this.cross = null;
    const { height, width } = region.about;
    this.overlay = layer(height, width);
    this.uncertainty = region.arrays.uncertainty ? heat(region.arrays.uncertainty, height, width) : null;
    region.boxes ??= [];
    this.repaint();
    this.fit();
  }

  clear() {
    this.region = null;
    this.draw();
  }

  // The patch that a click at a pixel gives a class to: a superpixel of the chosen size, or all of one label that hangs
  // together.
  patch(y, x) {
    const { arrays, boxes, about, labels } = this.region, { step } = about;
    if (this.level < 0) return labels.area(y, x);
    const height = Math.ceil(about.height / step), width = Math.ceil(about.width / step);
    const segments = arrays.segments.subarray(this.level * height * width, (this.level + 1) * height * width);
    boxes[this.level] ??= segmentBoxes(segments, height, width);
    const at = (v, u) => segments[Math.floor(v / step) * width + Math.floor(u / step)], id = at(y, x);
    const [y0, x0, y1, x1] = boxes[this.level][id].map((edge) => edge * step);
    const box = [y0, x0, Math.min(y1, about.height), Math.min(x1, about.width)];
    return { box, has: (v, u) => v >= box[0] && v < box[2] && u >= box[1] && u < box[3] && at(v, u) === id };
  }

  // ------------------------------------------------------------------------------------------------ where

  #resize() {
    const ratio = window.devicePixelRatio || 1;
    this.canvas.width = Math.max(1, Math.round(this.canvas.clientWidth * ratio));
    this.canvas.height = Math.max(1, Math.round(this.canvas.clientHeight * ratio));
    if (this.region) this.fit();
    else this.draw();
  }

  // The region with its context, or alone, at the largest whole zoom, in the middle.
  fit() {
    const { about } = this.region, { view } = about;
    const around = this.close ? Math.min(8, Math.ceil(about.height / 16)) : 0;
    const rows = this.close ? about.height + 2 * around : view.y1 - view.y0;
    const cols = this.close ? about.width + 2 * around : view.x1 - view.x0;
    this.scale = step(Math.min(this.canvas.height / rows, this.canvas.width / cols));
    const middle = this.close
      ? [about.y - view.y0 + about.height / 2, about.x - view.x0 + about.width / 2]
      : [rows / 2, cols / 2];
    this.origin = [this.canvas.height / 2 - middle[0] * this.scale, this.canvas.width / 2 - middle[1] * this.scale].map(Math.round);
    this.draw();
  }

  // One step closer or farther, the point on the screen (device pixels) staying where it is.
  zoom(closer, [y, x] = [this.canvas.height / 2, this.canvas.width / 2]) {
    const before = this.scale;
    if (before > 1 || (before === 1 && closer)) this.scale = before + (closer ? Math.max(1, Math.round(before / 5)) : -Math.max(1, Math.round(before / 6)));
    else this.scale = 1 / (Math.round(1 / before) + (closer ? -1 : 1));
    this.scale = Math.min(MOST_ZOOM, Math.max(1 / 16, this.scale));
    const times = this.scale / before;
    this.origin = [Math.round(y - (y - this.origin[0]) * times), Math.round(x - (x - this.origin[1]) * times)];
    this.draw();
  }

  move(dy, dx) {
    this.origin = [this.origin[0] + dy, this.origin[1] + dx];
    this.draw();
  }

  // Of a pointer event: device pixels of the canvas.
  screen(event) {
    const box = this.canvas.getBoundingClientRect();
    return [((event.clientY - box.top) * this.canvas.height) / box.height, ((event.clientX - box.left) * this.canvas.width) / box.width];
  }

  // Position in the region, in its pixels, of one on the screen.
  inRegion([y, x]) {
    const { about } = this.region;
    return [(y - this.origin[0]) / this.scale - (about.y - about.view.y0), (x - this.origin[1]) / this.scale - (about.x - about.view.x0)];
  }

  #corner() {
    const { about } = this.region;
    return [this.origin[0] + (about.y - about.view.y0) * this.scale, this.origin[1] + (about.x - about.view.x0) * this.scale];
  }

  // ------------------------------------------------------------------------------------------------ paint

  // Colours the labels anew: all, or a box [y0, x0, y1, x1] of them.
  repaint(box = [0, 0, this.region.about.height, this.region.about.width]) {
    const { width } = this.region.about, { values } = this.region.labels;
    const [y0, x0, y1, x1] = box, rows = y1 - y0, cols = x1 - x0;
    const image = new ImageData(cols, rows), out = new Uint32Array(image.data.buffer), table = this.#table();
    for (let y = 0; y < rows; y++)
      for (let x = 0; x < cols; x++) {
        const value = values[(y + y0) * width + x + x0];
        out[y * cols + x] = value === OPEN ? ((x + x0 + y + y0) % 2 ? 0xff202020 : 0xffd0d0d0) : table[value];
      }
    this.overlay.getContext("2d").putImageData(image, x0, y0);
  }

  #table() {
    const table = new Uint32Array(256);
    this.colours.forEach(([r, g, b], id) => {
      if (this.highlight === null || this.highlight === id) table[id] = (0xff000000 | (b << 16) | (g << 8) | r) >>> 0;
    });
    return table;
  }

  draw() {
    this.wanted ??= requestAnimationFrame(() => {
      this.wanted = null;
      this.#draw();
      if (this.drawn) {
        const heard = this.drawn;
        this.drawn = null;
        heard();
      }
    });
  }

  #draw() {
    const { context, canvas } = this;
    context.fillStyle = "#1b1c1e";
    context.fillRect(0, 0, canvas.width, canvas.height);
    if (!this.region) return;
    const { about } = this.region, { view } = about, s = this.scale;
    const [top, left] = this.origin, [y, x] = this.#corner(), height = about.height * s, width = about.width * s;
    context.imageSmoothingEnabled = s < 1;
    context.filter = this.filter;
    context.drawImage(this.region.view, left, top, (view.x1 - view.x0) * s, (view.y1 - view.y0) * s);
    context.filter = "none";
    context.fillStyle = "rgba(40, 41, 44, 0.5)"; // the context, dimmed: four boxes around the region
    const bottom = top + (view.y1 - view.y0) * s, right = left + (view.x1 - view.x0) * s;
    context.fillRect(left, top, right - left, y - top);
    context.fillRect(left, y + height, right - left, bottom - y - height);
    context.fillRect(left, y, x - left, height);
    context.fillRect(x + width, y, right - x - width, height);
    if (this.showUncertainty && this.uncertainty) this.#layer(this.uncertainty, 0.75);
    else if (this.showLabels || this.highlight !== null) this.#layer(this.overlay, this.highlight === null ? this.opacity : 0.85);
    this.#stroke(() => context.rect(x - 1.5, y - 1.5, width + 3, height + 3), 1.5);
    this.#drawHint();
    if (this.cross) this.#drawCross(this.cross);
  }

  #layer(canvas, alpha) {
    const [y, x] = this.#corner();
    this.context.globalAlpha = alpha;
    this.context.imageSmoothingEnabled = false;
    this.context.drawImage(canvas, x, y, canvas.width * this.scale, canvas.height * this.scale);
    this.context.globalAlpha = 1;
  }

  // White within black: to be seen on every picture.
  #stroke(path, width) {
    const { context } = this;
    context.beginPath();
    path();
    context.lineJoin = "round";
    context.lineWidth = width + 2.5;
    context.strokeStyle = "rgba(0, 0, 0, 0.75)";
    context.stroke();
    context.lineWidth = width;
    context.strokeStyle = "#fff";
    context.stroke();
  }

  #drawHint() {
    const { hint, context, scale } = this, [y, x] = this.#corner();
    if (!hint) return;
    if (hint.patch) {
      if (hint.colour) this.#fill(hint.patch, hint.colour);
      this.#stroke(() => this.#outline(hint.patch), 1.5);
    }
    if (hint.brush) {
      const [by, bx, diameter] = hint.brush;
      this.#stroke(() => context.arc(x + bx * scale, y + by * scale, Math.max(2, (diameter / 2) * scale), 0, 7), 1.2);
    }
    if (hint.polygon) {
      const at = hint.polygon.map(([py, px]) => [x + px * scale, y + py * scale]);
      this.#stroke(() => {
        at.forEach((point, i) => (i ? context.lineTo(...point) : context.moveTo(...point)));
        if (hint.closing) context.closePath();
      }, 1.5);
      this.#stroke(() => context.arc(...at[0], 5, 0, 7), hint.closing ? 3 : 1.2);
    }
  }

  // What a click would do.
  #fill({ box: [y0, x0, y1, x1], has }, colour) {
    const [top, left] = this.#corner(), s = this.scale;
    this.context.fillStyle = `rgb(${colour.join(" ")} / 0.6)`;
    for (let y = y0; y < y1; y++)
      for (let x = x0; x < x1; x++) {
        if (!has(y, x)) continue;
        const from = x;
        while (x + 1 < x1 && has(y, x + 1)) x++;
        this.context.fillRect(left + from * s, top + y * s, (x + 1 - from) * s, s);
      }
  }

  // The edges between a patch and all else.
  #outline({ box: [y0, x0, y1, x1], has }) {
    const [top, left] = this.#corner(), s = this.scale;
    const edge = (ay, ax, by, bx) => {
      this.context.moveTo(left + ax * s, top + ay * s);
      this.context.lineTo(left + bx * s, top + by * s);
    };
    for (let y = y0; y < y1; y++)
      for (let x = x0; x < x1; x++) {
        if (!has(y, x)) continue;
        if (!has(y - 1, x)) edge(y, x, y, x + 1);
        if (!has(y + 1, x)) edge(y + 1, x, y + 1, x + 1);
        if (!has(y, x - 1)) edge(y, x, y + 1, x);
        if (!has(y, x + 1)) edge(y, x + 1, y + 1, x + 1);
      }
  }

  #drawCross([py, px]) {
    const [top, left] = this.#corner(), y = top + py * this.scale, x = left + px * this.scale;
    this.#stroke(() => {
      for (const [dy, dx] of [[0, 1], [0, -1], [1, 0], [-1, 0]]) {
        this.context.moveTo(x + 4 * dx, y + 4 * dy);
        this.context.lineTo(x + 13 * dx, y + 13 * dy);
      }
    }, 1.5);
  }
}

function layer(height, width) {
  const canvas = document.createElement("canvas");
  canvas.height = height;
  canvas.width = width;
  return canvas;
}

// From clear to a strong yellow, dark in between: to be read in grey, too.
function heat(values, height, width) {
  const canvas = layer(height, width), image = new ImageData(width, height);
  values.forEach((value, i) => image.data.set([Math.min(255, 60 + value * 1.2), Math.max(0, value * 1.4 - 100), 90 - value * 0.35, Math.min(255, value * 2)], 4 * i));
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

// The largest whole number of screen pixels a pixel; below one, the largest whole fraction.
function step(scale) {
  return scale >= 1 ? Math.min(MOST_ZOOM, Math.floor(scale)) : 1 / Math.ceil(1 / scale);
}
