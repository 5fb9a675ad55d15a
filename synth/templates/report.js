"use strict";
// Whatever comes from the data reaches the page as text nodes only.

const root = document.documentElement;
window.addEventListener("error", (event) => { root.dataset.error = event.message; });

const byId = (id) => document.getElementById(id);
const data = JSON.parse(byId("report-data").textContent);
const nameOf = (layer, head) => `L${layer}H${head}`;
const entries = new Map(data.entries.map((entry) => [entry.name, entry]));

// `shade` maps a score to 0 (worst) .. 1 (best); `ends` are the scores at the legend's two ends.
const MEASURES = [
  { key: "iou", label: "IoU", shade: (v) => v, ends: ["0", "1"] },
  { key: "iou_no_sink", label: "IoU without the sink", shade: (v) => v, ends: ["0", "1"] },
  { key: "output_error", label: "Output error", shade: (v) => 1 - Math.min(v, 1), ends: ["1 or more", "0"] },
];
let measure = MEASURES[0];
let shown = "";

// ---- small parts

function make(tag, properties = {}, ...children) {
  const { role, label, ...rest } = properties;
  const node = Object.assign(document.createElement(tag), rest);
  if (role) node.setAttribute("role", role);
  if (label) node.setAttribute("aria-label", label);
  node.append(...children);
  return node;
}

const fixed = (value, digits = 2) => (value === null ? "–" : value.toFixed(digits));
const brief = (value) => (value < 9.995 ? value.toFixed(2).replace(/^0\./, ".") : value.toFixed(0));
const plural = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;

// A token as it can be seen: line breaks and tabs as signs, a token without letters as a mark.
function visible(token) {
  return token.replace(/\r?\n|\r/g, "↵").replace(/\t/g, "⇥").replace(/^ +$/, "␣") || "·";
}

// ---- colours: the style sheet names the stops, light and dark

let sequential, diverging;
function readColours() {
  const stops = (name) => getComputedStyle(root).getPropertyValue(name).trim().split(/\s+/)
    .map((hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16)));
  sequential = stops("--sequential");
  diverging = stops("--diverging");
}

// The colour at 0..1 along the stops, as [red, green, blue].
function mix(stops, position) {
  const x = Math.min(Math.max(position, 0), 1) * (stops.length - 1);
  const i = Math.min(Math.floor(x), stops.length - 2);
  return stops[i].map((c, k) => Math.round(c + (stops[i + 1][k] - c) * (x - i)));
}

const css = (colour) => `rgb(${colour.join(" ")})`;

function luminance(colour) {
  const [r, g, b] = colour.map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

function paint(node, colour) {
  node.style.backgroundColor = css(colour);
  node.style.color = luminance(colour) > 0.18 ? "#000" : "#fff";
}

// Ticks are [position in 0..1, text].
function makeLegend(stops, ticks, note) {
  const bar = make("div", { className: "gradient" });
  bar.style.background = `linear-gradient(to right, ${stops.map(css).join(", ")})`;
  const labels = make("div", { className: "ticks" }, ...ticks.map(([at, text]) => {
    const tick = make("span", {}, text);
    tick.style.left = `${100 * at}%`;
    return tick;
  }));
  return make("div", { className: "scale" }, make("div", {}, bar, labels), make("span", { className: "note" }, note));
}

// ---- the grid

function buildGrid() {
  byId("grid").classList.toggle("dense", data.heads > 16);
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
}

const cells = () => [...byId("grid").querySelectorAll("[data-head]")];

function paintGrid() {
  for (const cell of cells()) {
    const name = cell.dataset.head;
    const score = entries.get(name)?.[measure.key] ?? null;
    cell.classList.toggle("none", score === null);
    cell.textContent = score === null ? "" : brief(score);
    if (score === null) cell.removeAttribute("style");
    else paint(cell, mix(sequential, measure.shade(score)));
    const told = entries.has(name) ? (score === null ? "not scored" : fixed(score)) : "no program";
    cell.setAttribute("aria-label", `${name}, ${measure.label}: ${told}`);
    cell.title = `${name}: ${entries.get(name)?.program ?? "no program"}`;
  }
  const [worst, best] = measure.ends;
  byId("legend").replaceChildren(makeLegend(sequential, [[0, worst], [1, best]], `${measure.label}, better to the right`));
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
  for (const choice of MEASURES) {
    const radio = make("input", { type: "radio", name: "measure", checked: choice === measure });
    radio.addEventListener("change", () => { measure = choice; paintGrid(); });
    byId("measures").append(make("label", {}, radio, make("span", {}, choice.label)));
  }
}

function search() {
  const wanted = byId("search").value.trim().toLowerCase();
  const found = new Set(data.entries.filter((e) => e.program.toLowerCase().includes(wanted)).map((e) => e.name));
  for (const cell of cells()) cell.classList.toggle("dim", wanted !== "" && !found.has(cell.dataset.head));
  for (const row of byId("table").tBodies[0].rows) row.hidden = !found.has(row.dataset.head);
  byId("matches").textContent = wanted && `${found.size} of ${plural(data.entries.length, "program")} match.`;
}

// ---- one head

const PIECES = /"[^"]*"|\d+(?:\.\d+)?|[a-z_]+|[^"\da-z_]+|./gsu;
const KEYWORDS = new Set(["when", "and", "or", "not"]);

function pieceClass(piece) {
  if (piece[0] === '"') return "word";
  if (/^\d/.test(piece)) return "digits";
  if (KEYWORDS.has(piece)) return "keyword";
  return /^[a-z_]/.test(piece) ? "primitive" : "";
}

function highlighted(program) {
  const rules = program.split("; ").map((rule, i, all) => make("span", { className: "rule" },
    ...(rule + (i < all.length - 1 ? ";" : "")).match(PIECES).map((piece) => make("span", { className: pieceClass(piece) }, piece))));
  return make("pre", { className: "program", tabIndex: 0, role: "region", label: "Program" }, make("code", {}, ...rules));
}

function bar(className, label, value, text, interval = [null, null]) {
  const fill = make("div", { className: "fill" });
  fill.style.width = `${100 * Math.min(value ?? 0, 1)}%`;
  const track = make("div", { className: `track ${className}` }, fill);
  if (!interval.includes(null)) {
    const whisker = make("div", { className: "whisker" });
    whisker.style.left = `${100 * interval[0]}%`;
    whisker.style.width = `${100 * (interval[1] - interval[0])}%`;
    track.append(whisker);
  }
  return [make("dt", {}, label), make("dd", { className: "measured" }, track, make("span", {}, text))];
}

function scores(entry) {
  const interval = entry.iou_ci.includes(null) ? "" : ` [${entry.iou_ci.map((end) => fixed(end)).join(", ")}]`;
  const fact = (label, value) => make("div", {}, make("dt", {}, label), make("dd", {}, value));
  return [
    make("dl", { className: "bars" },
      ...bar("ours", "IoU", entry.iou, fixed(entry.iou) + interval, entry.iou_ci),
      ...bar("", make("span", {}, "best trivial: ", make("code", {}, entry.baseline_name)), entry.baseline_iou, fixed(entry.baseline_iou))),
    make("dl", { className: "figures" },
      fact("IoU without the sink", fixed(entry.iou_no_sink)), fact("JSD", fixed(entry.jsd)),
      fact("Output error", fixed(entry.output_error)), fact("Size", plural(entry.size, "term"))),
  ];
}

function showHead(name) {
  shown = name;
  const entry = entries.get(name);
  const [layer, head] = name.slice(1).split("H");
  const title = make("h2", { id: "panel-title" }, name, " ", make("small", {}, `layer ${layer}, head ${head}`));
  const panel = byId("panel");
  for (const cell of cells()) {
    cell.setAttribute("aria-selected", String(cell.dataset.head === name));
    if (cell.dataset.head === name) moveTo(cell);
  }
  panel.dataset.head = name;
  panel.replaceChildren(title);
  if (!entry) {
    panel.append(make("p", { className: "empty" }, "This head has no program."));
    return;
  }
  panel.append(highlighted(entry.program));
  if (entry.sentence) panel.append(make("p", { className: "sentence" }, entry.sentence));
  panel.append(...scores(entry));
  panel.append(make("p", { className: "note" },
    `Proposed by ${entry.proposer}, stage ${entry.stage}. ` +
    `${plural(entry.proposals, "proposal")} for this head: ${entry.rejected} rejected, ${plural(entry.duplicates, "duplicate")}.`));
  if (entry.examples.length) panel.append(...exampleView(entry.examples));
}

// ---- real and predicted attention on one text

function exampleView(examples) {
  const choose = make("select", { id: "document" }, ...examples.map((example, i) =>
    make("option", { value: String(i) }, data.texts[example.text].document)));
  const place = make("div");
  const show = () => place.replaceChildren(...attention(examples[Number(choose.value)]));
  choose.addEventListener("change", show);
  show();
  return [make("div", { className: "heading" }, make("h3", {}, "Attention on a text"),
    make("label", {}, "Text ", choose)), place];
}

const bytes = (base64) => Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
const signedRoot = (weight) => Math.sign(weight) * Math.sqrt(Math.abs(weight));

function heatMap(title, n, colourAt) {
  const canvas = make("canvas", { width: n, height: n, role: "img", label: `${title}: rows are queries, columns are keys` });
  const image = new ImageData(n, n);
  for (let i = 0; i < n * n; i++) image.data.set([...colourAt(i), 255], 4 * i);
  canvas.getContext("2d").putImageData(image, 0, 0);
  const frame = make("div", { className: "frame" }, canvas,
    make("div", { className: "row-mark" }), make("div", { className: "column-mark" }));
  return make("figure", {}, make("figcaption", {}, title),
    make("div", { className: "axes" }, make("span", { className: "axis-x" }, "key (column)"),
      make("span", { className: "axis-y" }, "query (row)"), frame));
}

function strip(label, tokens) {
  const line = make("p", { className: "tokens" }, ...tokens.flatMap((token, i) => {
    const span = make("bdi", {}, token.trim() === "" ? visible(token) : token.replace(/[\r\n\t]+/g, visible));
    span.dataset.at = String(i);
    return token.includes("\n") ? [span, make("br")] : [span];
  }));
  return make("div", { className: "strip" }, make("h4", {}, label), line);
}

function attention(example) {
  const tokens = data.texts[example.text].tokens;
  const n = tokens.length;
  const real = bytes(example.real), predicted = bytes(example.predicted);
  const byWeight = (weights) => (i) => mix(sequential, Math.sqrt(weights[i] / 255));
  const maps = make("div", { className: "maps", tabIndex: 0, role: "application",
    label: "Heat maps: arrow keys move the cell that is read out" },
    heatMap("Real", n, byWeight(real)),
    heatMap("Predicted", n, byWeight(predicted)),
    heatMap("Difference", n, (i) => mix(diverging, (1 + signedRoot((predicted[i] - real[i]) / 255)) / 2)));
  const readout = make("p", { className: "readout" });
  readout.setAttribute("aria-live", "polite");
  const strips = [strip("Real", tokens), strip("Predicted", tokens)];
  let at = { query: 0, key: 0 };

  // Marks the cell in all maps, reads it out, and colours the texts by the query's two rows.
  function point(query, key) {
    if (query < 0 || key < 0 || query >= n || key >= n) return;
    at = { query, key };
    maps.style.setProperty("--query", query);
    maps.style.setProperty("--key", key);
    const cell = query * n + key;
    readout.replaceChildren(make("bdi", {}, visible(tokens[query]).trim()), " → ", make("bdi", {}, visible(tokens[key]).trim()),
      `: real ${fixed(real[cell] / 255)}, predicted ${fixed(predicted[cell] / 255)}`);
    for (const [view, weights] of [[strips[0], real], [strips[1], predicted]]) {
      for (const span of view.querySelectorAll("[data-at]")) {
        const other = Number(span.dataset.at);
        paint(span, byWeight(weights)(query * n + other));
        span.classList.toggle("query", other === query);
      }
    }
  }

  function pointQuery(query) {
    const row = real.subarray(query * n, (query + 1) * n);
    point(query, row.indexOf(Math.max(...row)));
  }

  for (const kind of ["pointermove", "pointerdown"]) {
    maps.addEventListener(kind, (event) => {
      if (event.target.tagName !== "CANVAS") return;
      const box = event.target.getBoundingClientRect();
      point(Math.floor((event.clientY - box.top) / box.height * n), Math.floor((event.clientX - box.left) / box.width * n));
    });
  }
  maps.addEventListener("keydown", (event) => {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (!step) return;
    event.preventDefault();
    point(at.query + step[0], at.key + step[1]);
  });
  for (const view of strips) {
    view.addEventListener("pointerover", (event) => {
      if (event.target.dataset.at) pointQuery(Number(event.target.dataset.at));
    });
  }

  maps.style.setProperty("--count", n);
  pointQuery(n - 1);
  const legends = make("div", { className: "legend" },
    makeLegend(sequential, [[0, "0"], [0.5, "¼"], [1, "1"]], "Real and predicted weight"),
    makeLegend(diverging, [[0, "−1"], [0.5, "0"], [1, "+1"]], "Difference: predicted − real"));
  return [maps, readout, legends, make("p", { className: "note" },
    "Colours follow the square root of the weight. Point at a token to see where it looks."), ...strips];
}

// ---- start

function bestGain() {
  const gain = (entry) => (entry.iou ?? 0) - (entry.baseline_iou ?? 0);
  return data.entries.reduce((best, entry) => (gain(entry) > gain(best) ? entry : best)).name;
}

function openFromHash() {
  const match = /^#L(\d+)H(\d+)$/.exec(location.hash);
  if (!match || +match[1] >= data.layers || +match[2] >= data.heads) return false;
  showHead(nameOf(+match[1], +match[2]));
  return true;
}

// Brings the panel into view where it stands below the fold, as on a phone.
function revealPanel() {
  const box = byId("panel").getBoundingClientRect();
  if (box.bottom < 100 || box.top > 0.6 * innerHeight) byId("panel").scrollIntoView();
}

// A new hash opens its head; one that already stands there only brings the panel back into view.
function go(name) {
  location.hash = name;
  revealPanel();
}

function repaint() {
  readColours();
  paintGrid();
  showHead(shown);
}

readColours();
buildMeasures();
buildGrid();
paintGrid();
if (openFromHash()) revealPanel();
else showHead(bestGain());
window.addEventListener("hashchange", () => { if (openFromHash()) revealPanel(); });
byId("grid").addEventListener("click", (event) => {
  const cell = event.target.closest("[data-head]");
  if (cell) go(cell.dataset.head);
});
byId("table").addEventListener("click", (event) => { if (event.target.closest("a")) revealPanel(); });
byId("grid").addEventListener("focusin", (event) => moveTo(event.target));
byId("grid").addEventListener("keydown", onGridKey);
byId("search").addEventListener("input", search);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);
root.dataset.ready = "yes";
