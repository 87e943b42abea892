// The classes: which is chosen, their keys and colours, finding one by name, adding one.

import { OPEN } from "./labels.js";

// Letters that do nothing else. Beyond all of these a class is found by its name.
const LETTERS = "acdejklmnoqrtvw";
const KEYS = [..."123456789", ...LETTERS, ..."123456789".split("").map((digit) => `⇧${digit}`), ...LETTERS.toUpperCase().split("").map((letter) => `⇧${letter}`)];

export class Palette {
  // heard: {chosen(id), highlighted(id or null), added(name), recoloured()}
  constructor(heard) {
    this.heard = heard;
    this.list = document.querySelector("#class-list");
    this.find = document.querySelector("#find");
    this.apart = document.querySelector("#apart");
    this.classes = [];
    this.chosen = 0;
    this.apart.checked = localStorage.getItem("s4al-apart") === "yes";
    this.apart.addEventListener("change", () => {
      localStorage.setItem("s4al-apart", this.apart.checked ? "yes" : "no");
      this.#build();
      heard.recoloured();
    });
    this.find.addEventListener("input", () => this.#build());
    this.find.addEventListener("keydown", (event) => this.#typed(event));
    this.list.addEventListener("click", (event) => this.#clicked(event.target.closest(".class")));
    this.list.addEventListener("pointerover", (event) => this.#over(event.target.closest(".class")));
    this.list.addEventListener("pointerleave", () => heard.highlighted(null));
  }

  // classes: [{id, name, colour, apart}]; alike: pairs of ids whose colours are mixed up.
  set(classes, alike) {
    this.classes = classes;
    document.body.classList.toggle("many", classes.length > 16);
    const pairs = alike.slice(0, 12).map(([a, b]) => `${classes[a].name} / ${classes[b].name}`);
    const option = document.querySelector("#apart-option");
    option.title = alike.length
      ? `Some colours look alike, to some eyes at least: ${pairs.join(", ")}${alike.length > 12 ? ", ..." : ""}. This shows others; what is stored stays the same.`
      : "Shows other colours; what is stored stays the same.";
    option.lastChild.textContent = alike.length ? ` clearer colours (${alike.length} alike)` : " clearer colours";
    this.#build();
  }

  get colours() {
    return this.classes.map((each) => (this.apart.checked ? each.apart : each.colour));
  }

  name(value) {
    return value === OPEN ? "not decided" : (this.classes[value]?.name ?? "");
  }

  choose(id) {
    if (id !== OPEN && !this.classes[id]) return;
    this.chosen = id;
    this.#mark();
    this.heard.chosen(id);
  }

  // Whether a key chose a class.
  key(event) {
    const digit = /^(?:Digit|Numpad)(\d)$/.exec(event.code)?.[1];
    if (digit === "0" && !event.shiftKey) {
      this.choose(OPEN);
      return true;
    }
    const name = digit ? (event.shiftKey ? `⇧${digit}` : digit) : event.shiftKey ? `⇧${event.key.toUpperCase()}` : event.key.toLowerCase();
    const id = KEYS.indexOf(name);
    if (id < 0 || id >= this.classes.length) return false;
    this.choose(id);
    return true;
  }

  search() {
    this.find.focus();
    this.find.select();
  }

  // ------------------------------------------------------------------------------------------------ inside

  #shown() {
    const wanted = this.find.value.trim().toLowerCase();
    const found = this.classes.filter((each) => each.name.toLowerCase().includes(wanted));
    const begins = (each) => (each.name.toLowerCase().startsWith(wanted) ? 0 : 1);
    return wanted ? found.sort((a, b) => begins(a) - begins(b)) : found;
  }

  #build() {
    const items = this.#shown().map((each) => this.#item(each.id, each.name, KEYS[each.id]));
    const wanted = this.find.value.trim();
    if (!wanted) items.push(this.#item(OPEN, "not decided", "0"));
    else if (!this.classes.some((each) => each.name.toLowerCase() === wanted.toLowerCase())) {
      const add = this.#item("add", `+ add “${wanted}”`, items.length ? "" : "⏎");
      items.push(add);
    }
    this.list.replaceChildren(...items);
    this.#mark();
  }

  #item(id, name, key) {
    const button = document.createElement("button"), swatch = document.createElement("i"), text = document.createElement("span");
    button.className = id === OPEN ? "class open" : "class";
    button.dataset.id = id;
    button.role = "option";
    button.title = name;
    text.textContent = name;
    if (this.classes[id]) swatch.style.background = `rgb(${this.colours[id].join(" ")})`;
    button.append(swatch, text);
    if (key) {
      const kbd = document.createElement("kbd");
      kbd.textContent = key.toUpperCase();
      button.append(kbd);
    }
    return button;
  }

  #mark() {
    for (const item of this.list.children) {
      const chosen = item.dataset.id === String(this.chosen);
      item.setAttribute("aria-selected", chosen);
      if (chosen) item.scrollIntoView({ block: "nearest" });
    }
  }

  #clicked(item) {
    if (!item) return;
    if (item.dataset.id === "add") this.#add();
    else this.choose(Number(item.dataset.id));
  }

  #over(item) {
    const id = item ? Number(item.dataset.id) : NaN;
    this.heard.highlighted(this.classes[id] ? id : null);
  }

  #typed(event) {
    event.stopPropagation();
    if (event.key === "/" && !this.find.value) event.preventDefault(); // the field has the keyboard already
    if (event.key === "Escape") this.#leave();
    if (event.key !== "Enter") return;
    event.preventDefault();
    const [first] = this.#shown();
    if (!this.find.value.trim()) this.#leave();
    else if (first) {
      this.choose(first.id);
      this.#leave();
    } else this.#add();
  }

  #add() {
    const name = this.find.value.trim();
    this.#leave();
    this.heard.added(name);
  }

  #leave() {
    this.find.value = "";
    this.#build();
    this.find.blur();
    document.querySelector("#canvas").focus();
  }
}
