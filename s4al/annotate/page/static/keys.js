// What the keys and the buttons do.

const TOOLS = { g: "segment", b: "brush", p: "polygon", i: "picker" };
const ARROWS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

export function bindKeys(page) {
  const { tools, palette, view } = page;
  const help = document.querySelector("#help");
  const actions = {
    done: () => page.done(),
    skip: () => page.skip(),
    previous: () => page.previous(),
    undo: () => tools.undo(),
    redo: () => tools.redo(),
    fill: () => page.region && tools.fillOpen(),
    again: () => page.region && tools.startAgain(),
    smaller: () => tools.resize(false),
    larger: () => tools.resize(true),
    labels: () => page.toggle("labels"),
    uncertainty: () => page.toggle("uncertainty"),
    zoom: () => page.toggle("close"),
    closer: () => page.region && view.zoom(true),
    farther: () => page.region && view.zoom(false),
    search: () => palette.search(),
    help: () => help.showModal(),
    escape: () => tools.giveUp(),
    click: () => tools.pressCross(),
  };
  const keys = {
    enter: "done", s: "skip", backspace: "previous", z: "undo", y: "redo", f: "fill", h: "again", "[": "smaller", "]": "larger",
    " ": "labels", u: "uncertainty", x: "zoom", "+": "closer", "=": "closer", "-": "farther", "/": "search", "?": "help",
    escape: "escape", ".": "click",
  };

  document.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    if (button.dataset.do) actions[button.dataset.do]();
    if (button.dataset.tool) tools.use(button.dataset.tool);
    // Space and Enter belong to the region again, not to the button that was clicked with a pointer.
    if (event.detail > 0 && !button.closest("dialog")) document.querySelector("#canvas").focus();
  });

  document.addEventListener("keydown", (event) => {
    if (document.querySelector("dialog[open]")) return;
    if (event.target.matches("input:not([type=range])")) {
      if (event.key === "Escape" || event.key === "Enter") document.querySelector("#canvas").focus();
      return;
    }
    if ((event.key === "Enter" || event.key === " ") && event.target.matches("button:focus-visible, a, input")) return;
    if (act(event)) event.preventDefault();
  });

  document.addEventListener("keyup", (event) => event.key === "." && view.cross && tools.release());

  // Whether the key means anything here.
  function act(event) {
    const key = event.key.toLowerCase();
    const typed = event.getModifierState("AltGraph"); // on some keyboards [ and ] need it
    if (!typed && (event.ctrlKey || event.metaKey)) {
      if (key !== "z" && key !== "y") return false;
      actions[key === "y" || event.shiftKey ? "redo" : "undo"]();
      return true;
    }
    if (!typed && event.altKey) return false;
    if (ARROWS[event.key]) {
      if (event.target.matches("input")) return false;
      tools.step(...ARROWS[event.key], event.shiftKey);
      return true;
    }
    // Letters with Shift are classes; signs may need Shift on some keyboards.
    const plain = !event.shiftKey || key.length > 1 || !/[a-z]/.test(key);
    if (plain && TOOLS[key]) tools.use(TOOLS[key]);
    else if (plain && keys[key] && !(event.repeat && (key === "enter" || key === "s" || key === "."))) actions[keys[key]]();
    else return palette.key(event);
    return true;
  }
}
