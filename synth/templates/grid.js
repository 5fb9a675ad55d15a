// ---- the grid of heads

// `shade` maps a score to 0 (worst) .. 1 (best); `ends` are the scores at the legend's two ends.
// Few heads do most of the damage: its square root and thousandths tell the others apart.
const worstDamage = Math.max(...data.entries.map((entry) => entry.damage ?? 0), 0.001);
const thousandths = (value) => (1000 * value).toFixed(value < 0.00995 ? 1 : 0);
const MEASURES = [
  { key: "iou", label: "IoU", shade: (v) => v, ends: ["0", "1"], note: "IoU, better to the right" },
  { key: "iou_no_sink", label: "IoU without the first token", shade: (v) => v, ends: ["0", "1"], note: "IoU without the first token, better to the right" },
  { key: "output_error", label: "Output error", shade: (v) => 1 - Math.min(v, 1), ends: ["1 or more", "0"], note: "Output error, better to the right" },
  { key: "damage", label: "Damage", shade: (v) => 1 - Math.sqrt(v / worstDamage), ends: [thousandths(worstDamage), "0"], write: thousandths,
    note: "Damage in thousandths of a nat a token, better to the right" },
  { key: "category", label: "Category" },
].filter(({ key }) => key === "iou" || data.entries.some((entry) => entry[key] !== null));
let measure = MEASURES[0];

function buildGrid() {
  byId("grid").classList.toggle("dense", data.heads > 16);
  byId("grid").style.setProperty("--heads", data.heads);
  const header = make("tr", {}, make("td"));
  for (let head = 0; head < data.heads; head++) header.append(make("th", { scope: "col" }, String(head)));
  byId("grid").append(make("thead", {}, header));
  const body = make("tbody");
  for (let layer = 0; layer < data.layers; layer++) {
    const row = make("tr", {}, make("th", { scope: "row" }, String(layer)));
    for (let head = 0; head < data.heads; head++) {
      const cell = make("td", { role: "gridcell", tabIndex: -1 });
      cell.dataset.head = nameOf(layer, head);
      row.append(cell);
    }
    body.append(row);
  }
  byId("grid").append(body);
  byId("grid").addEventListener("click", (event) => {
    const cell = event.target.closest("[data-head]");
    if (cell) go(cell.dataset.head);
  });
  byId("grid").addEventListener("focusin", (event) => moveTo(event.target));
  byId("grid").addEventListener("keydown", onGridKey);
  for (const kind of ["pointerover", "focusin"]) byId("grid").addEventListener(kind, peek);
}

const cells = () => [...byId("grid").querySelectorAll("[data-head]")];

// What a cell says and how it is coloured, by the present measure.
function painted(entry) {
  const value = entry?.[measure.key] ?? null;
  if (value === null) return { text: "", told: entry ? "not scored" : "no program" };
  if (measure.key === "category") return { text: value.slice(0, 2), told: value, colour: categoryColour(value) };
  return { text: (measure.write ?? brief)(value), told: fixed(value, measure.key === "damage" ? 4 : 2), colour: mix(sequential, measure.shade(value)) };
}

function paintGrid() {
  for (const cell of cells()) {
    const { text, told, colour } = painted(entries.get(cell.dataset.head));
    cell.classList.toggle("none", !colour);
    cell.textContent = text;
    if (colour) paint(cell, colour);
    else cell.removeAttribute("style");
    cell.setAttribute("aria-label", `${cell.dataset.head}, ${measure.label}: ${told}`);
  }
  byId("legend").replaceChildren(...(measure.key === "category" ? categoryLegend() : [scoreLegend()]),
    make("span", { className: "note unexplained" }, make("i", {}), "no program"));
}

function scoreLegend() {
  const [worst, best] = measure.ends;
  return makeLegend(sequential, [[0, worst], [1, best]], measure.note);
}

// Each category is a button that searches for its heads.
function categoryLegend() {
  return data.categories.map((category) => {
    const count = data.entries.filter((entry) => entry.category === category).length;
    const swatch = make("i", {}, category.slice(0, 2));
    paint(swatch, categoryColour(category));
    const button = make("button", { type: "button", className: "category", value: category }, swatch, `${category} `, make("small", {}, String(count)));
    markPressed(button);
    button.addEventListener("click", () => searchFor(filter.phrase === category ? "" : category));
    return button;
  });
}

const markPressed = (button) => button.setAttribute("aria-pressed", String(filter.phrase === button.value));

// What the pointer or the keyboard is at, in a line below the grid.
function peek(event) {
  const cell = event.target.closest("[data-head]");
  if (!cell) return;
  const entry = entries.get(cell.dataset.head);
  byId("peek").replaceChildren(make("b", {}, cell.dataset.head), ` ${painted(entry).told} `,
    ...(entry ? [highlighted(entry.program)] : []));
}

function moveTo(cell) {
  for (const other of byId("grid").querySelectorAll("[tabindex='0']")) other.tabIndex = -1;
  cell.tabIndex = 0;
}

function onGridKey(event) {
  const cell = event.target.closest("[data-head]");
  if (!cell) return;
  const [layer, head] = cell.dataset.head.slice(1).split("H").map(Number);
  const steps = {
    ArrowUp: [layer - 1, head], ArrowDown: [layer + 1, head],
    ArrowLeft: [layer, head - 1], ArrowRight: [layer, head + 1],
    Home: [layer, 0], End: [layer, data.heads - 1],
  };
  if (event.key === "Enter" || event.key === " ") go(cell.dataset.head);
  else if (event.key in steps) byId("grid").querySelector(`[data-head=${nameOf(...steps[event.key])}]`)?.focus();
  else return;
  event.preventDefault();
}

function buildMeasures() {
  const labels = MEASURES.map(({ label }) => label);
  const made = choice("Colour the heads by", labels, 0, (i) => { measure = MEASURES[i]; paintGrid(); });
  byId("measures").append(...made.querySelectorAll("label"));
}

function nextMeasure() {
  const radios = [...byId("measures").querySelectorAll("input")];
  radios[(radios.findIndex((radio) => radio.checked) + 1) % radios.length].click();
}
