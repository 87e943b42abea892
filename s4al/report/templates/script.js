"use strict";
// What the page can do beyond being read: hovering, sorting, filtering. Everything is there without it.

(function hovering() {
  const bubble = document.createElement("div");
  bubble.id = "bubble";
  bubble.hidden = true;
  bubble.setAttribute("aria-hidden", "true"); // the same text is the point's own title
  document.body.append(bubble);
  function place(event) {
    bubble.style.left = Math.min(event.clientX + 12, window.innerWidth - bubble.offsetWidth - 8) + "px";
    bubble.style.top = Math.max(8, event.clientY - bubble.offsetHeight - 12) + "px";
  }
  document.querySelectorAll("[data-tip]").forEach((point) => {
    point.addEventListener("pointerenter", (event) => {
      bubble.textContent = point.dataset.tip;
      bubble.hidden = false;
      place(event);
    });
    point.addEventListener("pointermove", place);
    point.addEventListener("pointerleave", () => { bubble.hidden = true; });
  });
})();

(function sorting() {
  function value(row, column) {
    const text = row.cells[column].textContent.trim();
    const number = parseFloat(text.replace(/[,\s]/g, "").replace("−", "-"));
    return Number.isNaN(number) ? text.toLowerCase() : number;
  }
  function compare(a, b) {
    if (typeof a === typeof b) return a < b ? -1 : a > b ? 1 : 0;
    return typeof a === "number" ? -1 : 1;
  }
  document.querySelectorAll("table.sortable").forEach((table) => {
    const body = table.tBodies[0];
    if (body.rows.length < 2) return;
    Array.from(table.tHead.rows[0].cells).forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") === "ascending";
        Array.from(table.tHead.rows[0].cells).forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const rows = Array.from(body.rows);
        rows.sort((a, b) => (down ? -1 : 1) * compare(value(a, column), value(b, column)));
        body.append(...rows);
      });
    });
  });
})();

(function filtering() {
  const form = document.getElementById("filters");
  if (!form) return;
  const cards = Array.from(document.querySelectorAll("#asked-cards > .card"));
  const score = form.elements.namedItem("score");
  function apply() {
    const wanted = form.elements.namedItem("class").value;
    const cycle = form.elements.namedItem("cycle").value;
    let shown = 0;
    cards.forEach((card) => {
      const fits = (!wanted || JSON.parse(card.dataset.classes).includes(wanted)) &&
        (!cycle || card.dataset.cycle === cycle) &&
        Number(card.dataset.score) >= Number(score.value);
      card.hidden = !fits;
      shown += fits ? 1 : 0;
    });
    form.querySelector("output").textContent = Number(score.value).toFixed(2);
    form.querySelector("[role=status]").textContent = `${shown} of ${cards.length} images shown`;
  }
  form.hidden = false;
  form.addEventListener("input", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  apply();
})();

window.addEventListener("beforeprint", () => {
  document.querySelectorAll("details").forEach((each) => { each.open = true; });
});
