// Sorting, searching and playing. Everything can be read and heard without this file, too.
"use strict";
document.documentElement.classList.add("js");

const compare = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" }).compare;

function sortValue(row, column) {
  const cell = (row.rows ? row.rows[0] : row).cells[column];
  const text = cell.dataset.sort ?? cell.textContent.trim();
  // What only begins with digits, such as a date or a name of LibriSpeech, is a name.
  const isNumber = /^[<>]?\s*-?\d+(\.\d+)?(e[-+]?\d+)?(?![\w.-])/i.test(text);
  return isNumber ? parseFloat(text.replace(/^[<>]\s*/, "")) : text;
}

function sortTable(table, column, direction) {
  const inBodies = "bodies" in table.dataset;
  const rows = inBodies ? [...table.tBodies] : [...table.tBodies[0].rows];
  const home = inBodies ? table : table.tBodies[0];
  const keyed = rows.map((row) => [sortValue(row, column), row]);
  keyed.sort(([a], [b]) => {
    const order = typeof a === "number" && typeof b === "number" ? a - b : compare(String(a), String(b));
    return direction === "ascending" ? order : -order;
  });
  home.append(...keyed.map(([, row]) => row));
}

for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    if ("unsorted" in head.dataset) return;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const direction = head.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", direction);
      sortTable(table, column, direction);
    });
  });
}

const search = document.getElementById("search");
if (search) {
  const bodies = [...document.getElementById("recordings").tBodies];
  const fold = (text) => text.normalize("NFC").toLocaleLowerCase();
  const texts = new Map(bodies.map((body) => [body, fold(body.dataset.search)]));
  search.addEventListener("input", () => {
    const words = fold(search.value).split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const body of bodies) {
      body.hidden = !words.every((word) => texts.get(body).includes(word));
      shown += body.hidden ? 0 : 1;
    }
    document.getElementById("search-count").textContent = `${shown} of ${bodies.length} recordings`;
  });
}

// One sound at a time.
document.addEventListener("play", (event) => {
  for (const other of document.querySelectorAll("audio")) if (other !== event.target) other.pause();
}, true);

function started(audio) {
  // A pause right after the start refuses the promise of play(): nothing to tell anybody.
  audio.play().catch((error) => { if (error.name !== "AbortError") throw error; });
}

// What a mouse does by a click into the spectrogram, keyboards and screen readers do by these buttons.
function addSteps(speech, play) {
  const steps = document.createElement("span");
  steps.className = "steps";
  const said = document.createElement("span");
  said.setAttribute("role", "status");
  for (const kind of ["phone", "unit"]) {
    const parts = [...speech.querySelectorAll(`.${kind}`)];
    let at = -1;
    for (const step of parts.length ? [-1, 1] : []) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = step < 0 ? `◀ ${kind}` : `${kind} ▶`;
      button.setAttribute("aria-label", `Play the ${step < 0 ? "previous" : "next"} ${kind}`);
      button.addEventListener("click", () => {
        at = Math.min(Math.max(at + step, 0), parts.length - 1);
        const part = parts[at];
        said.textContent = `${part.querySelector("title").textContent}, ${Number(part.dataset.start).toFixed(2)} s`;
        play(part);
      });
      steps.append(button);
    }
  }
  steps.append(said);
  document.getElementById(speech.dataset.audio).parentElement.append(steps);
}

for (const speech of document.querySelectorAll("svg.speech")) {
  const audio = document.getElementById(speech.dataset.audio);
  const cursor = speech.querySelector(".cursor");
  const scale = Number(speech.dataset.scale);
  let end = Infinity;
  const follow = () => {
    const x = audio.currentTime * scale;
    cursor.setAttribute("x1", x);
    cursor.setAttribute("x2", x);
    cursor.setAttribute("visibility", audio.currentTime > 0 ? "visible" : "hidden");
    const lane = speech.parentElement;
    if (!audio.paused && (x < lane.scrollLeft || x > lane.scrollLeft + lane.clientWidth)) lane.scrollLeft = x - 20;
    if (audio.currentTime >= end) {
      end = Infinity;
      audio.pause();
    }
    if (!audio.paused) requestAnimationFrame(follow);
  };
  audio.addEventListener("play", follow);
  audio.addEventListener("seeked", follow);
  audio.addEventListener("pause", () => { end = Infinity; });
  const play = (part) => {
    audio.pause();
    const start = () => {
      audio.currentTime = Number(part.dataset.start);
      end = Number(part.dataset.end);
      started(audio);
    };
    // The pause event is told later, and would forget where to end.
    setTimeout(start, 0);
  };
  speech.addEventListener("click", (event) => {
    const part = event.target.closest("[data-start]");
    if (part) play(part);
  });
  addSteps(speech, play);
}

for (const audio of document.querySelectorAll("audio.clip")) {
  const about = audio.nextElementSibling;
  const button = document.createElement("button");
  button.type = "button";
  button.title = about.title;
  button.textContent = `▶ ${about.textContent}`;
  button.setAttribute("aria-label", `Play the example of ${about.textContent}: ${about.title}`);
  about.after(button);
  button.addEventListener("click", () => {
    if (!audio.paused) return audio.pause();
    audio.currentTime = 0;
    return started(audio);
  });
  audio.addEventListener("play", () => { button.dataset.playing = ""; });
  for (const kind of ["pause", "ended"]) audio.addEventListener(kind, () => { delete button.dataset.playing; });
}

const numbers = document.getElementById("numbers");
const data = document.getElementById("data").textContent;
JSON.parse(data);
numbers.href = URL.createObjectURL(new Blob([data], { type: "application/json" }));
numbers.hidden = false;
