// The regions this page holds: the one at hand and those loaded ahead, with their leases and drafts.

import { Refused, loadRegion, postJson } from "./api.js";
import { Labels, UNTOUCHED } from "./labels.js";
import { untouched } from "./tools.js";

const AHEAD = 3;
const RENEW_S = 120;
const RECENT = 8; // finished regions kept at hand for Backspace

export class Queue {
  // person: () => {client, annotator}; heard: {ready(), lost(number), progress(progress), failed(error)}
  constructor(person, outbox, blank, heard) {
    Object.assign(this, { person, outbox, blank, heard });
    this.regions = []; // {asked, loading, loaded}; the first is at hand
    this.recent = []; // finished ones, newest last
    this.finished = JSON.parse(sessionStorage.getItem("s4al-finished") ?? "[]").filter(([round]) => round === outbox.round);
    this.asking = null;
    this.leased = null; // when the server last gave or renewed
  }

  get current() {
    return this.regions[0] ?? null;
  }

  get numbers() {
    return this.regions.map((region) => region.asked.number);
  }

  // Asks for as many regions as are to be held. One request at a time; a second call while one is on its way asks again.
  async refill() {
    if (this.asking) {
      this.again = true;
      return this.asking;
    }
    this.asking = this.#refill().finally(() => (this.asking = null));
    await this.asking;
    if (this.again) {
      this.again = false;
      return this.refill();
    }
  }

  async #refill() {
    const begins = this.leased === null, held = begins ? this.#remembered() : this.numbers;
    const sent = this.outbox.numbers; // finished, but the server may not know yet: nobody else is to get them
    const given = await postJson("/api/lease", {
      ...this.person(),
      round: this.outbox.round,
      holding: [...new Set([...held, ...sent])],
      more: Math.max(0, AHEAD + 1 - held.length),
    });
    this.leased = performance.now();
    for (const number of given.lost) this.#drop(number);
    for (const asked of given.regions) {
      const known = this.regions.find((region) => region.asked.number === asked.number);
      if (known) Object.assign(known.asked, asked);
      else if (!sent.includes(asked.number) && (begins || !held.includes(asked.number))) this.regions.push(this.#begin(asked));
    }
    this.remember();
    this.heard.progress(given.progress);
  }

  #remembered() {
    const remembered = JSON.parse(sessionStorage.getItem("s4al-held") ?? "null");
    return remembered?.round === this.outbox.round ? remembered.numbers : [];
  }

  // Loads one after the other: the first is to be there as soon as can be.
  #begin(asked) {
    const region = { asked, loaded: null, error: null }, before = this.regions.at(-1)?.loading;
    region.loading = Promise.resolve(before).then(() => this.#loadInTime(region));
    region.loading.then(() => region === this.current && this.heard.ready());
    return region;
  }

  // Again and again while the server is away.
  async #loadInTime(region) {
    for (let wait = 500; this.regions.includes(region) && !region.loaded && !region.error; wait = Math.min(5000, wait * 1.5)) {
      try {
        region.loaded = await this.#load(region);
      } catch (error) {
        this.heard.failed(error);
        if (error instanceof Refused) region.error = error;
        else await new Promise((resolve) => setTimeout(resolve, wait));
      }
    }
  }

  async #load({ asked }) {
    const [loaded, draft, sent] = await Promise.all([
      loadRegion(asked.number, this.person()),
      this.outbox.draft(asked.number),
      this.outbox.answer(asked.number),
    ]);
    const { height, width } = loaded.about;
    const { mine, guess } = loaded.arrays;
    const start = draft?.values ?? sent?.labels ?? mine ?? (guess && !this.blank ? untouched(guess) : new Uint8Array(height * width).fill(UNTOUCHED));
    loaded.labels = new Labels(height, width, start.slice());
    loaded.seconds = draft?.seconds ?? sent?.about.seconds ?? loaded.about.seconds;
    return loaded;
  }

  // Takes the region at hand off the queue; it may be called back.
  finish() {
    const region = this.regions.shift();
    this.recent = [...this.recent, region].slice(-RECENT);
    this.finished = this.finished.filter(([, number]) => number !== region.asked.number);
    this.finished.push([this.outbox.round, region.asked.number]);
    this.remember();
    return region;
  }

  // Puts the region finished last back in front; false where there is none.
  back() {
    const last = this.finished.pop();
    if (!last) return false;
    const [, number] = last;
    const kept = this.recent.findIndex((region) => region.asked.number === number);
    const region = kept >= 0 ? this.recent.splice(kept, 1)[0] : this.#begin({ number, image: "", rank: 0, score: NaN, reason: "", purpose: "" });
    this.regions.unshift(region);
    this.remember();
    return true;
  }

  // Renews the leases when they are getting old.
  renew() {
    if (this.regions.length && performance.now() - this.leased > RENEW_S * 1000) this.refill().catch((error) => this.heard.failed(error));
  }

  #drop(number) {
    const at = this.numbers.indexOf(number);
    if (at < 0) return;
    this.regions.splice(at, 1);
    if (at === 0) this.heard.lost(number);
  }

  // Across a reload of this tab.
  remember() {
    sessionStorage.setItem("s4al-held", JSON.stringify({ round: this.outbox.round, numbers: this.numbers }));
    sessionStorage.setItem("s4al-finished", JSON.stringify(this.finished.slice(-500)));
  }

  // Why a region cannot be shown; "" while it may still come.
  static problem(region) {
    return region.error ? region.error.message : "";
  }
}
