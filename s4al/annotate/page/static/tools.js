// The tools: pointers and the keyboard's pointer become changes of the labels.

import { OPEN, UNTOUCHED } from "./labels.js";

const BRUSHES = [1, 2, 3, 4, 6, 8, 11, 15, 21, 30, 45, 70, 100, 150];
const LEVELS = ["whole area", "coarse", "medium", "fine"]; // the first is of one label, the others are superpixels
const NEAR = 9; // screen pixels within which the first corner closes a polygon

export class Tools {
  // heard: {changed(), chosen(id), size()}
  constructor(view, heard) {
    this.view = view;
    this.heard = heard;
    this.tool = "segment";
    this.brush = 4; // of BRUSHES
    this.value = 0; // the chosen class; OPEN = not decided
    this.used = new Set();
    this.corners = []; // of a polygon on its way
    this.at = null; // where the pointer is, in the region
    this.last = null; // where the stroke at hand has come to, in the region
    this.pointers = new Map(); // those that move the picture
    this.penSeen = false;
    const { canvas } = view;
    const on = (kind, act) => canvas.addEventListener(kind, act);
    on("pointerdown", (event) => this.#down(event));
    on("pointermove", (event) => this.#move(event));
    on("pointerup", (event) => this.#up(event));
    on("pointercancel", (event) => this.#up(event, true));
    on("pointerleave", () => this.#hover(null));
    on("dblclick", () => this.close());
    on("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
  }

  get labels() {
    return this.view.region?.labels ?? null;
  }

  get isBusy() {
    return this.last !== null || this.corners.length > 0;
  }

  use(tool) {
    this.giveUp();
    this.tool = tool;
    this.#hover(this.at);
    this.heard.size();
  }

  choose(value) {
    this.value = value;
    this.#hover(this.at);
  }

  get size() {
    if (this.tool === "segment") return LEVELS[this.view.level + 1];
    return this.tool === "brush" ? `${BRUSHES[this.brush]} px` : "";
  }

  resize(larger) {
    if (this.tool === "segment") this.view.level = clamp(this.view.level + 1 + (larger ? -1 : 1), LEVELS.length) - 1;
    else this.brush = clamp(this.brush + (larger ? 1 : -1), BRUSHES.length);
    this.#hover(this.at);
    this.heard.size();
  }

  // -------------------------------------------------------------------------------------------- pointers

  #down(event) {
    if (!this.labels) return;
    if (event.pointerType === "pen") this.penSeen = true;
    this.view.canvas.setPointerCapture(event.pointerId);
    this.view.cross = null;
    const touch = event.pointerType === "touch";
    if (event.button === 1 || (touch && (this.penSeen || this.pointers.size > 0 || this.touch !== undefined))) {
      this.#startMoving(event);
    } else if (event.button === 2) {
      this.pick(this.#place(event));
    } else if (event.button === 0) {
      if (touch) this.touch = event;
      this.press(this.#place(event));
    }
  }

  // A second finger: the first did not mean to paint.
  #startMoving(event) {
    if (this.touch) {
      this.giveUp();
      this.pointers.set(this.touch.pointerId, this.view.screen(this.touch));
      this.touch = undefined;
    }
    this.pointers.set(event.pointerId, this.view.screen(event));
  }

  #move(event) {
    if (!this.labels) return;
    if (this.pointers.has(event.pointerId)) {
      this.#drag(event);
      return;
    }
    if (this.touch && this.touch.pointerId === event.pointerId) this.touch = event;
    this.view.cross = null; // the mouse has it again
    const parts = event.getCoalescedEvents?.() ?? [];
    for (const part of parts.length ? parts : [event]) this.moveTo(this.#place(part));
  }

  #up(event, cancelled = false) {
    if (this.touch?.pointerId === event.pointerId) this.touch = undefined;
    if (this.pointers.delete(event.pointerId) || !this.labels) return;
    if (cancelled) this.giveUp();
    else if (event.button === 0) this.release();
  }

  #drag(event) {
    const before = [...this.pointers.values()];
    const now = this.view.screen(event), from = this.pointers.get(event.pointerId);
    this.pointers.set(event.pointerId, now);
    const after = [...this.pointers.values()];
    if (after.length === 1) this.view.move(now[0] - from[0], now[1] - from[1]);
    else {
      const [was, is] = [middle(before), middle(after)];
      this.view.move(is[0] - was[0], is[1] - was[1]);
      const spread = distance(after) / Math.max(1, (this.spread ??= distance(before)));
      if (spread > 1.15 || spread < 0.87) {
        this.view.zoom(spread > 1, is);
        this.spread = distance(after);
      }
    }
    if (this.pointers.size < 2) this.spread = undefined;
  }

  #wheel(event) {
    event.preventDefault();
    if (!this.labels || event.deltaY === 0) return;
    if (event.shiftKey) this.resize(event.deltaY < 0);
    else this.view.zoom(event.deltaY < 0, this.view.screen(event));
  }

  #place(event) {
    return this.view.inRegion(this.view.screen(event));
  }

  // ------------------------------------------------------------------------------- what a pointer does

  press(at) {
    this.at = at;
    if (this.tool === "picker") this.pick(at);
    else if (this.tool === "polygon") this.#corner(at);
    else {
      this.labels.begin();
      this.last = at;
      this.patch = null; // the one painted last
      this.#paint(at);
    }
  }

  moveTo(at) {
    if (this.last) this.#paint(at);
    this.#hover(at);
  }

  release() {
    if (!this.last) return;
    this.last = null;
    this.#end();
  }

  giveUp() {
    this.last = null;
    this.corners = [];
    if (!this.labels) return;
    this.labels.cancel();
    this.view.repaint();
    this.#hover(this.at);
  }

  pick([y, x]) {
    const value = this.labels.at(y, x);
    if (value !== null && value !== UNTOUCHED) this.heard.chosen(value);
  }

  fillOpen() {
    this.#whole("fill", () => this.labels.fillOpen(this.value));
  }

  startAgain() {
    const { guess } = this.view.region.arrays;
    const { height, width } = this.labels;
    this.#whole("guess", () => this.labels.replace(guess ? untouched(guess) : new Uint8Array(height * width).fill(UNTOUCHED)));
  }

  #whole(name, act) {
    this.giveUp();
    this.labels.begin();
    act();
    this.view.repaint();
    this.#end(name);
  }

  undo() {
    if (this.corners.length) this.corners.pop();
    else if (this.labels?.undo()) this.#redrawn();
    this.#hover(this.at);
  }

  redo() {
    if (this.labels?.redo()) this.#redrawn();
  }

  #redrawn() {
    this.view.repaint();
    this.view.draw();
    this.heard.changed();
  }

  #paint(at) {
    const { labels, view } = this;
    if (this.tool === "brush") {
      labels.line(...this.last, ...at, BRUSHES[this.brush], this.value);
    } else {
      for (const [y, x] of between(this.last, at)) {
        const row = Math.floor(y), col = Math.floor(x);
        if (labels.at(y, x) === null || this.patch?.has(row, col)) continue;
        this.patch = view.patch(row, col);
        labels.patch(this.patch, this.value);
      }
    }
    this.last = at;
    if (labels.box) view.repaint(labels.box);
    view.draw();
  }

  #corner(at) {
    if (this.corners.length > 2 && this.#isNearFirst(at)) return this.close();
    this.corners.push(at);
    this.#hover(at);
  }

  #isNearFirst([y, x]) {
    const [fy, fx] = this.corners[0];
    return Math.hypot(y - fy, x - fx) * this.view.scale <= NEAR;
  }

  // Fills the polygon; true where there was one.
  close() {
    if (this.corners.length < 3) return false;
    this.labels.begin();
    this.labels.polygon(this.corners, this.value);
    this.corners = [];
    this.view.repaint();
    this.#end();
    return true;
  }

  #end(name = this.tool) {
    this.used.add(name);
    if (this.labels.commit()) this.heard.changed();
    this.#hover(this.at);
  }

  // --------------------------------------------------------------------------------------- the next step

  #hover(at) {
    this.at = at;
    const { view, labels } = this;
    view.hint = null;
    if (labels && (at || this.corners.length)) view.hint = this.#hint(at);
    this.heard.over(labels && at ? labels.at(...at) : null);
    view.draw();
  }

  #hint(at) {
    if (this.corners.length) {
      const points = at && this.corners.length ? [...this.corners, at] : this.corners;
      return { polygon: points, closing: at !== null && this.corners.length > 2 && this.#isNearFirst(at) };
    }
    if (this.labels.at(...at) === null) return null;
    if (this.tool === "brush") return { brush: [...at, BRUSHES[this.brush]] };
    if (this.tool !== "segment") return null;
    const patch = this.view.patch(Math.floor(at[0]), Math.floor(at[1]));
    return { patch, colour: this.last ? null : this.view.colours[this.value] };
  }

  // ------------------------------------------------------------------------------ the keyboard's pointer

  step(dy, dx, far) {
    if (!this.labels) return;
    const { height, width } = this.labels;
    const [y, x] = this.view.cross ?? [Math.floor(height / 2) + 0.5, Math.floor(width / 2) + 0.5];
    const pixels = this.view.cross ? (far ? 10 : 1) : 0;
    this.view.cross = [limit(y + dy * pixels, height), limit(x + dx * pixels, width)];
    this.moveTo(this.view.cross);
  }

  // The keyboard's click: down until `releaseCross`.
  pressCross() {
    if (this.labels && this.view.cross && !this.last) this.press(this.view.cross);
  }
}

// A guess as a starting answer: what it leaves open nobody has touched yet.
export function untouched(values) {
  return values.map((value) => (value === OPEN ? UNTOUCHED : value));
}

const clamp = (value, count) => Math.min(count - 1, Math.max(0, value));
const limit = (value, size) => Math.min(size - 0.5, Math.max(0.5, value));
const middle = (points) => [0, 1].map((axis) => points.reduce((sum, point) => sum + point[axis], 0) / points.length);
const distance = ([a, b]) => Math.hypot(a[0] - b[0], a[1] - b[1]);

// Places from one to another, at most half a pixel apart: no segment on the way is left out.
function* between([ay, ax], [by, bx]) {
  const steps = Math.max(1, Math.ceil(2 * Math.hypot(by - ay, bx - ax)));
  for (let i = steps === 1 && ay === by && ax === bx ? 1 : 0; i <= steps; i++) yield [ay + ((by - ay) * i) / steps, ax + ((bx - ax) * i) / steps];
}
