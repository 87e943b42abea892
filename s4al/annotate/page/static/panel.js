// The panel at the right: the whole image with the frame in it, why the region was asked, how far one is.

const $ = (id) => document.getElementById(id);

export class Panel {
  constructor() {
    this.begun = null; // regions done by this person when the session began
    this.times = []; // seconds of the last regions
    $("goal").value = localStorage.getItem("s4al-goal") ?? "";
    $("goal").addEventListener("input", () => {
      localStorage.setItem("s4al-goal", $("goal").value);
      this.#goal();
    });
    this.count = Number(sessionStorage.getItem("s4al-session") ?? 0);
  }

  show({ about, thumbnail }, asked, filter) {
    const canvas = $("thumbnail"), ratio = window.devicePixelRatio || 1;
    canvas.width = Math.round(252 * ratio);
    canvas.height = Math.round((canvas.width * thumbnail.height) / thumbnail.width);
    if (canvas.height > 260 * ratio) {
      canvas.width = Math.round((canvas.width * 260 * ratio) / canvas.height);
      canvas.height = Math.round(260 * ratio);
    }
    canvas.style.width = `${canvas.width / ratio}px`;
    const context = canvas.getContext("2d");
    context.filter = filter;
    context.drawImage(thumbnail, 0, 0, canvas.width, canvas.height);
    context.filter = "none";
    const times = canvas.width / about.image_width;
    const box = [about.x * times, about.y * times, Math.max(4, about.width * times), Math.max(4, about.height * times)];
    for (const [width, colour] of [[5, "#000"], [2.2, "#ffb454"]]) {
      context.lineWidth = width;
      context.strokeStyle = colour;
      context.strokeRect(...box);
    }
    $("image").textContent = asked.image;
    $("region").textContent = `${about.width} × ${about.height} at ${about.x}, ${about.y}`;
    $("rank").textContent = `${asked.rank + 1}${asked.score > 0 ? ` · score ${asked.score.toFixed(3)}` : ""}`;
    const why = [asked.reason, asked.purpose === "test" ? "never trained on" : "", asked.second ? "asked of a second person" : ""];
    $("why").textContent = why.filter(Boolean).join("; ");
  }

  finished(seconds) {
    this.times = [...this.times, seconds].slice(-25);
    this.count += 1;
    sessionStorage.setItem("s4al-session", this.count);
  }

  takenBack() {
    this.count = Math.max(0, this.count - 1);
    sessionStorage.setItem("s4al-session", this.count);
  }

  progress({ asked, answered, skipped, left, seconds }) {
    const done = answered + skipped;
    $("bar-done").style.width = `${(100 * done) / Math.max(1, asked)}%`;
    $("counts").textContent = `${number(done)} of ${number(asked)} regions done${skipped ? ` (${number(skipped)} skipped)` : ""}, ${number(left)} left`;
    const each = this.times.length >= 3 ? median(this.times) : answered ? seconds / answered : null;
    const rest = each === null || left === 0 ? "" : `, about ${minutes(each * left)} to go`;
    $("minutes").textContent = `${minutes(seconds)} spent${rest}`;
    this.#goal();
  }

  #goal() {
    const goal = Number($("goal").value) || 0;
    $("goal-line").style.visibility = goal ? "visible" : "hidden";
    $("bar-goal").style.width = `${Math.min(100, (100 * this.count) / Math.max(1, goal))}%`;
    $("goal-text").textContent = goal ? (this.count >= goal ? `Reached: ${number(this.count)} done.` : `${number(this.count)} done, ${number(goal - this.count)} to go`) : "";
  }
}

const number = (value) => value.toLocaleString("en");

export function minutes(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)];
}

// Opacity, brightness and closeness are kept in the browser.
export function bindSettings(view) {
  const slider = (id, first, act) => {
    $(id).value = localStorage.getItem(`s4al-${id}`) ?? first;
    const apply = () => {
      localStorage.setItem(`s4al-${id}`, $(id).value);
      act(Number($(id).value) / 100);
      view.draw();
    };
    $(id).addEventListener("input", apply);
    apply();
  };
  slider("opacity", "50", (share) => (view.opacity = share));
  slider("brightness", "100", (share) => (view.brightness = share));
  $("auto").checked = view.auto = localStorage.getItem("s4al-auto") !== "no";
  $("auto").addEventListener("change", () => {
    localStorage.setItem("s4al-auto", (view.auto = $("auto").checked) ? "yes" : "no");
    view.draw();
  });
  view.close = localStorage.getItem("s4al-close") === "yes";
}
