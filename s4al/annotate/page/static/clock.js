// Active seconds: the time between signs of life, at most 30 s at a stretch, and none while the page is hidden.

const IDLE_MS = 30_000;

export class Clock {
  constructor() {
    this.spent = 0; // ms, of the region at hand
    this.last = document.hidden ? null : performance.now();
    this.active = performance.now(); // when somebody last did anything
    for (const kind of ["pointermove", "pointerdown", "keydown", "wheel"])
      document.addEventListener(kind, () => this.#alive(), { capture: true, passive: true });
    document.addEventListener("visibilitychange", () => {
      if (document.hidden) this.#count(null);
      else this.last = performance.now();
    });
  }

  #alive() {
    this.active = performance.now();
    this.#count(this.active);
  }

  #count(next) {
    if (this.last !== null) this.spent += Math.min(performance.now() - this.last, IDLE_MS);
    this.last = next;
  }

  // Seconds of this region so far.
  seconds() {
    const since = this.last === null ? 0 : Math.min(performance.now() - this.last, IDLE_MS);
    return (this.spent + since) / 1000;
  }

  begin(seconds = 0) {
    this.spent = seconds * 1000;
    this.last = document.hidden ? null : performance.now();
  }

  get idleSeconds() {
    return (performance.now() - this.active) / 1000;
  }
}
