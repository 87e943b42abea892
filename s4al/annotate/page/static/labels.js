// The labels of one region: a byte a pixel, what the tools do to them, and undo without limit. Knows no screen.

export const OPEN = 255; // left open on purpose
export const UNTOUCHED = 254; // nobody has said anything about it yet; sent as 255

export class Labels {
  // values: Uint8Array of height * width class ids.
  constructor(height, width, values) {
    this.height = height;
    this.width = width;
    this.values = values;
    this.done = [];
    this.undone = [];
    this.before = null; // the values when the stroke at hand began
    this.box = null; // [y0, x0, y1, x1] of what it has changed
  }

  begin() {
    if (this.before === null) {
      this.before = this.values.slice();
      this.box = null;
    }
  }

  // Ends the stroke; true where it changed anything.
  commit() {
    const { before, box } = this;
    this.before = this.box = null;
    if (before === null || box === null) return false;
    this.done.push({ box, before: cut(before, this.width, box), after: cut(this.values, this.width, box) });
    this.undone = [];
    return true;
  }

  // Gives up the stroke at hand.
  cancel() {
    if (this.before === null) return;
    this.values.set(this.before);
    this.before = this.box = null;
  }

  undo() {
    return this.#exchange(this.done, this.undone, "before");
  }

  redo() {
    return this.#exchange(this.undone, this.done, "after");
  }

  #exchange(from, to, which) {
    const patch = from.pop();
    if (!patch) return false;
    const [y0, x0, y1, x1] = patch.box;
    for (let y = y0; y < y1; y++) {
      const row = patch[which].subarray((y - y0) * (x1 - x0), (y - y0 + 1) * (x1 - x0));
      this.values.set(row, y * this.width + x0);
    }
    to.push(patch);
    return true;
  }

  #set(y, x, value) {
    const index = y * this.width + x;
    if (this.values[index] === value) return;
    this.values[index] = value;
    const box = (this.box ??= [y, x, y + 1, x + 1]);
    if (y < box[0]) box[0] = y;
    if (x < box[1]) box[1] = x;
    if (y >= box[2]) box[2] = y + 1;
    if (x >= box[3]) box[3] = x + 1;
  }

  at(y, x) {
    const row = Math.floor(y), col = Math.floor(x);
    if (row < 0 || col < 0 || row >= this.height || col >= this.width) return null;
    return this.values[row * this.width + col];
  }

  count(value) {
    let count = 0;
    for (const each of this.values) if (each === value) count++;
    return count;
  }

  // ------------------------------------------------------------------------------------------------ tools

  // All pixels of a patch: {box: [y0, x0, y1, x1], has(y, x)}.
  patch({ box: [y0, x0, y1, x1], has }, value) {
    for (let y = y0; y < y1; y++) for (let x = x0; x < x1; x++) if (has(y, x)) this.#set(y, x, value);
  }

  // The patch of one label around a pixel: what hangs together by its edges.
  area(row, col) {
    const { width, height, values } = this, value = values[row * width + col];
    const inside = new Uint8Array(height * width), next = [row * width + col], box = [row, col, row + 1, col + 1];
    inside[next[0]] = 1;
    const visit = (index, there) => {
      if (!there || inside[index] || values[index] !== value) return;
      inside[index] = 1;
      next.push(index);
    };
    while (next.length) {
      const index = next.pop(), x = index % width, y = (index - x) / width;
      box[0] = Math.min(box[0], y);
      box[1] = Math.min(box[1], x);
      box[2] = Math.max(box[2], y + 1);
      box[3] = Math.max(box[3], x + 1);
      visit(index - 1, x > 0);
      visit(index + 1, x + 1 < width);
      visit(index - width, y > 0);
      visit(index + width, y + 1 < height);
    }
    return { box, has: (y, x) => y >= 0 && x >= 0 && y < height && x < width && inside[y * width + x] === 1 };
  }

  // Pixels whose centre is within half the diameter of the line from one point to another, and those under its ends.
  line(fromY, fromX, toY, toX, diameter, value) {
    const radius = diameter / 2, dy = toY - fromY, dx = toX - fromX, length = dy * dy + dx * dx;
    const y0 = Math.max(0, Math.floor(Math.min(fromY, toY) - radius)), x0 = Math.max(0, Math.floor(Math.min(fromX, toX) - radius));
    const y1 = Math.min(this.height, Math.ceil(Math.max(fromY, toY) + radius)), x1 = Math.min(this.width, Math.ceil(Math.max(fromX, toX) + radius));
    for (let y = y0; y < y1; y++)
      for (let x = x0; x < x1; x++) {
        const py = y + 0.5 - fromY, px = x + 0.5 - fromX;
        const along = length > 0 ? Math.min(1, Math.max(0, (py * dy + px * dx) / length)) : 0;
        const offY = py - along * dy, offX = px - along * dx;
        if (offY * offY + offX * offX <= radius * radius) this.#set(y, x, value);
      }
    for (const [y, x] of [[fromY, fromX], [toY, toX]])
      if (this.at(y, x) !== null) this.#set(Math.floor(y), Math.floor(x), value);
  }

  // Pixels whose centre is inside the polygon (even-odd). points: [[y, x], ...]; they may lie outside the region.
  polygon(points, value) {
    for (let row = 0; row < this.height; row++) {
      const y = row + 0.5, crossings = [];
      points.forEach(([ay, ax], i) => {
        const [by, bx] = points[(i + 1) % points.length];
        if (ay <= y !== by <= y) crossings.push(ax + ((y - ay) / (by - ay)) * (bx - ax));
      });
      crossings.sort((a, b) => a - b);
      for (let i = 0; i + 1 < crossings.length; i += 2) {
        const first = Math.max(0, Math.ceil(crossings[i] - 0.5)), end = Math.min(this.width, Math.ceil(crossings[i + 1] - 0.5));
        for (let col = first; col < end; col++) this.#set(row, col, value);
      }
    }
  }

  // What nobody has touched; where there is none, what was left open.
  fillOpen(value) {
    const which = this.values.includes(UNTOUCHED) ? UNTOUCHED : OPEN;
    for (let y = 0; y < this.height; y++)
      for (let x = 0; x < this.width; x++) if (this.values[y * this.width + x] === which) this.#set(y, x, value);
  }

  replace(values) {
    for (let y = 0; y < this.height; y++)
      for (let x = 0; x < this.width; x++) this.#set(y, x, values[y * this.width + x]);
  }

  // As they are sent: 255 = not decided.
  sent() {
    return this.values.map((value) => (value === UNTOUCHED ? OPEN : value));
  }
}

function cut(values, width, [y0, x0, y1, x1]) {
  const part = new Uint8Array((y1 - y0) * (x1 - x0));
  for (let y = y0; y < y1; y++) part.set(values.subarray(y * width + x0, y * width + x1), (y - y0) * (x1 - x0));
  return part;
}

// Where each superpixel lies: boxes[id] = [y0, x0, y1, x1].
export function segmentBoxes(segments, height, width) {
  const boxes = [];
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) {
      const box = (boxes[segments[y * width + x]] ??= [y, x, y + 1, x + 1]);
      if (x < box[1]) box[1] = x;
      if (x >= box[3]) box[3] = x + 1;
      box[2] = y + 1;
    }
  return boxes;
}
