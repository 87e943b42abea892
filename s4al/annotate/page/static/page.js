// The page itself: leads from region to region, and says what happens.

import { Away, Refused, getJson, postJson } from "./api.js";
import { Clock } from "./clock.js";
import { bindKeys } from "./keys.js";
import { OPEN, UNTOUCHED } from "./labels.js";
import { Outbox } from "./outbox.js";
import { Palette } from "./palette.js";
import { Panel, bindSettings } from "./panel.js";
import { Queue } from "./queue.js";
import { Tools } from "./tools.js";
import { View } from "./view.js";

const $ = (id) => document.getElementById(id);
const HELD_BACK_MS = 4000; // how long a notice stays

export class Page {
  constructor(round, client) {
    this.round = round;
    this.client = client;
    this.name = localStorage.getItem("s4al-name") || round.annotator;
    this.clock = new Clock();
    this.panel = new Panel();
    this.view = new View($("canvas"));
    this.tools = new Tools(this.view, {
      changed: () => this.#changed(),
      chosen: (value) => this.palette.choose(value),
      size: () => this.#showTool(),
      over: (value) => this.#showUnder(value),
    });
    this.palette = new Palette({
      chosen: (id) => {
        this.tools.choose(id);
        this.say("");
      },
      highlighted: (id) => this.#highlight(id),
      added: (name) => this.#addClass(name),
      recoloured: () => this.#recolour(),
    });
    this.outbox = new Outbox(round.id, client, (...news) => this.#heardFromOutbox(...news));
    this.queue = new Queue(() => this.person, this.outbox, round.blank, {
      ready: () => this.#show(),
      lost: () => {
        this.say("The region was taken or answered by somebody else meanwhile.", true);
        this.#show();
      },
      progress: (progress) => this.#progress(progress),
      failed: (error) => this.#failed(error),
    });
    this.confirmed = false; // that open pixels may stay open
    this.started = null; // when the next picture was asked for
  }

  get person() {
    return { client: this.client, annotator: this.name };
  }

  async begin() {
    this.#useClasses(this.round);
    bindSettings(this.view);
    this.#bindName();
    bindKeys(this);
    await this.outbox.open();
    await this.#refill();
    this.#show();
    if (!this.round.classes.length) {
      this.say("There is no class yet: type the name of the first one.");
      this.palette.search();
    }
    setInterval(() => this.#tick(), 1000);
    document.addEventListener("visibilitychange", () => document.hidden && this.#keepDraft());
    addEventListener("pagehide", () => {
      this.#keepDraft();
      navigator.sendBeacon("/api/leave", JSON.stringify(this.person));
    });
    addEventListener("pageshow", (event) => event.persisted && this.#refill());
    addEventListener("online", () => this.outbox.send());
  }

  // ---------------------------------------------------------------------------------------------- regions

  get region() {
    return this.queue.current?.loaded ?? null;
  }

  #show() {
    const { current } = this.queue;
    this.confirmed = false;
    if (!current?.loaded) {
      this.view.clear();
      this.#showOpen();
      this.#showWaiting(current);
      return;
    }
    if (this.view.region === current.loaded) return;
    this.#message("");
    this.clock.begin(current.loaded.seconds);
    this.view.colours = this.palette.colours;
    const began = this.started;
    this.view.drawn = () => this.#measure(began);
    this.tools.corners = [];
    this.tools.last = null;
    this.view.show(current.loaded);
    this.panel.show(current.loaded, current.asked, this.view.filter);
    this.#showOpen();
    this.#showTool();
  }

  // For the tests, and whoever looks into the browser's own tools.
  #measure(began) {
    if (began === null) performance.measure("s4al first region", { start: 0 });
    else if (began) performance.measure("s4al next region", { start: began });
    this.started = false;
  }

  #showWaiting(current) {
    const { progress, run, next } = { progress: this.progress, ...this.round };
    if (current) {
      const problem = Queue.problem(current);
      this.#message(problem ? `This region cannot be shown. ${problem} Skip it with S.` : "Loading the next region …");
    } else if (progress && progress.left === 0) {
      this.#message(`All ${progress.asked.toLocaleString("en")} regions of ${run} are done. Thank you.`, next);
    } else if (this.outbox.numbers.length) {
      this.#message("Waiting for the server: your answers are kept in this browser.");
    } else {
      this.#message("The regions that are left are with other people at the moment. New ones come here by themselves.");
    }
  }

  done() {
    const { region } = this;
    if (!region) return;
    if (this.tools.corners.length && this.tools.close()) return;
    this.tools.release();
    this.tools.giveUp();
    const open = region.labels.count(UNTOUCHED);
    if (open && !this.confirmed) {
      this.confirmed = true;
      this.say(`${open.toLocaleString("en")} pixels are open. Enter again leaves them open; F gives them the chosen class.`);
      return;
    }
    this.#leave(region.labels.sent());
  }

  skip() {
    if (this.queue.current && (this.region || Queue.problem(this.queue.current))) this.#leave(null);
  }

  #leave(labels) {
    this.started = performance.now();
    this.say("");
    const seconds = Math.round(this.clock.seconds() * 100) / 100, { region } = this;
    const tool = [...this.tools.used].sort().join("+") || (region?.arrays.guess && labels ? "guess" : "page");
    this.tools.used.clear();
    const { asked } = this.queue.finish();
    if (region) region.seconds = seconds;
    this.panel.finished(seconds);
    const about = { ...this.person, round: this.round.id, seconds, tool };
    if (!$("connection").classList.contains("away")) this.#connection("Saving …");
    const kept = this.outbox.add({ number: asked.number, labels, about });
    this.#show();
    kept.then(() => this.outbox.dropDraft(asked.number)).then(() => this.#refill());
  }

  previous() {
    this.#keepDraft();
    if (this.region) this.region.seconds = this.clock.seconds();
    this.started = performance.now();
    if (!this.queue.back()) {
      this.say("There is none before this one.");
      return;
    }
    this.panel.takenBack();
    this.#show();
    this.#refill();
  }

  async #refill() {
    try {
      await this.queue.refill();
      if (!this.queue.current) this.#show();
    } catch (error) {
      this.#failed(error);
    }
  }

  #changed() {
    this.confirmed = false;
    this.say("");
    this.#showOpen();
    this.#keepDraft();
  }

  #keepDraft() {
    const { region } = this;
    if (region) this.outbox.keepDraft(this.queue.current.asked.number, { values: region.labels.values.slice(), seconds: this.clock.seconds() });
  }

  #tick() {
    if (this.clock.idleSeconds < 300 && !document.hidden) this.queue.renew();
    if (!this.queue.current && (this.ticks = (this.ticks ?? 0) + 1) % 8 === 0) this.#refill();
  }

  // ---------------------------------------------------------------------------------------------- classes

  #useClasses(round) {
    this.palette.set(round.classes, round.alike);
    this.#recolour();
    this.palette.choose(this.palette.chosen);
  }

  #recolour() {
    this.view.colours = this.palette.colours;
    if (this.view.region) {
      this.view.repaint();
      this.view.draw();
    }
  }

  #highlight(id) {
    this.view.highlight = id;
    this.#recolour();
  }

  async #addClass(name) {
    try {
      const { id } = await postJson("/api/classes", { name });
      await this.#learnClasses();
      this.palette.choose(id);
      this.say(`“${name}” is a class now, and chosen.`);
    } catch (error) {
      this.#failed(error);
    }
  }

  async #learnClasses() {
    this.round = await getJson("/api/round");
    this.#useClasses(this.round);
  }

  // ----------------------------------------------------------------------------------------- what is said

  say(text, bad = false) {
    $("notice").textContent = text;
    $("notice").hidden = !text;
    $("notice").classList.toggle("bad", bad);
    clearTimeout(this.noticeTimer);
    if (text) this.noticeTimer = setTimeout(() => ($("notice").hidden = true), bad ? 3 * HELD_BACK_MS : HELD_BACK_MS);
  }

  #message(text, command = "") {
    const box = $("message");
    box.hidden = !text;
    box.replaceChildren(text);
    if (command) {
      const code = document.createElement("code");
      code.textContent = command;
      box.append("Next, in the terminal:", code);
    }
  }

  #failed(error) {
    if (error instanceof Away) {
      this.#connection("The server does not answer; trying again.", true);
      clearTimeout(this.retry);
      this.retry = setTimeout(() => this.#refill(), 2000);
    } else if (error instanceof Refused) this.say(error.message, true);
    else throw error;
  }

  #heardFromOutbox(kind, what, error) {
    if (kind === "saved") {
      const { length } = this.outbox.numbers;
      this.#connection(length ? `Saving ${length} …` : "All is saved.");
      this.#progress(what.progress);
      if (!length && !this.queue.current) this.#refill();
    } else if (kind === "refused") {
      this.say(`The answer to region ${what.number} was not taken. ${error.message}`, true);
    } else if (kind === "away") {
      const count = `${what} answer${what === 1 ? " waits" : "s wait"} in this browser`;
      this.#connection(error instanceof Refused ? `${count}. ${error.message}` : `The server does not answer; ${count}.`, true);
    }
  }

  #connection(text, away = false) {
    $("connection").textContent = text;
    $("connection").classList.toggle("away", away);
  }

  #progress(progress) {
    if ($("connection").classList.contains("away") && !this.outbox.numbers.length) this.#connection("All is saved.");
    this.progress = progress;
    this.panel.progress(progress);
    // Somebody else, or another tab, has added one.
    if (progress.classes !== this.round.classes.length) this.#learnClasses().catch((error) => this.#failed(error));
  }

  #showOpen() {
    const { region } = this, label = $("open");
    const open = region ? region.labels.count(UNTOUCHED) : 0, left = region ? region.labels.count(OPEN) : 0;
    const parts = [open ? `${open.toLocaleString("en")} pixels open` : region ? "no pixel open" : "", left ? `${left.toLocaleString("en")} left open` : ""];
    label.textContent = parts.filter(Boolean).join(", ");
    label.classList.toggle("some", open > 0);
  }

  // The class under the pointer, and the chosen one where it would become that.
  #showUnder(value) {
    const name = value === UNTOUCHED ? "open" : this.palette.name(value ?? UNTOUCHED), chosen = this.palette.chosen;
    const becomes = this.tools.tool !== "picker" && value !== chosen ? ` → ${this.palette.name(chosen)}` : "";
    $("under").textContent = value === null ? "" : name + becomes;
  }

  #showTool() {
    for (const button of document.querySelectorAll("[data-tool]")) button.setAttribute("aria-pressed", button.dataset.tool === this.tools.tool);
    for (const [what, on] of [["labels", this.view.showLabels], ["uncertainty", this.view.showUncertainty]])
      document.querySelector(`[data-do=${what}]`).setAttribute("aria-pressed", on);
    document.querySelector("[data-do=uncertainty]").disabled = !this.region?.arrays.uncertainty;
    $("size").textContent = this.tools.size;
    $("zoom").textContent = this.view.close ? "Context" : "Closer";
  }

  toggle(what) {
    if (what === "labels") this.view.showLabels = !this.view.showLabels;
    else if (what === "uncertainty") this.view.showUncertainty = !this.view.showUncertainty && Boolean(this.region?.arrays.uncertainty);
    else {
      this.view.close = !this.view.close;
      localStorage.setItem("s4al-close", this.view.close ? "yes" : "no");
      if (this.view.region) this.view.fit();
    }
    this.#showTool();
    this.view.draw();
  }

  #bindName() {
    $("name").value = this.name;
    $("name").addEventListener("change", () => {
      const name = $("name").value.trim();
      if (name) localStorage.setItem("s4al-name", (this.name = name));
      $("name").value = this.name;
      this.#refill();
    });
  }
}
