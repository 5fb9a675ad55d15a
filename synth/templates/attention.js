// ---- real and predicted attention on a text

const bytes = (base64) => Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
const signedRoot = (weight) => Math.sign(weight) * Math.sqrt(Math.abs(weight));

// The examples of a head, each with its two matrices of n * n bytes; see synth/packing.py.
async function unpack(entry) {
  const stream = new Blob([bytes(entry.packed)]).stream().pipeThrough(new DecompressionStream("deflate"));
  const packed = new Uint8Array(await new Response(stream).arrayBuffer());
  let at = 0;
  const matrix = (n) => {
    const square = new Uint8Array(n * n);
    for (let query = 0; query < n; query++) {
      const width = data.causal ? query + 1 : n;
      square.set(packed.subarray(at, at + width), query * n);
      at += width;
    }
    return square;
  };
  return entry.texts.map((number) => {
    const { document, tokens } = data.texts[number];
    return { document, tokens, real: matrix(tokens.length), predicted: matrix(tokens.length) };
  });
}

// What the reader looks at stays when another head is opened.
const view = { text: 0, query: null, key: 0, large: false };

const seen = (query, key) => !data.causal || key <= query;

// An n x n picture with the tokens along both axes; a cell that no token can see stays empty.
function heatMap(title, tokens, colourAt) {
  const n = tokens.length;
  const canvas = make("canvas", { width: n, height: n, role: "img", label: `${title}: rows are queries, columns are keys` });
  const image = new ImageData(n, n);
  for (let i = 0; i < n * n; i++) {
    if (seen(Math.floor(i / n), i % n)) image.data.set([...colourAt(i), 255], 4 * i);
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
  const labels = (className) => make("div", { className, ariaHidden: "true" }, ...tokens.map((token) => make("bdi", {}, visible(token))));
  return make("figure", {}, make("figcaption", {}, title),
    make("div", { className: "axes" }, make("span", { className: "axis-x" }, "key (column)"), labels("keys"),
      make("span", { className: "axis-y" }, "query (row)"), labels("queries"),
      make("div", { className: "frame" }, canvas, make("div", { className: "row-mark" }), make("div", { className: "column-mark" }))));
}

function strip(label, tokens) {
  const line = make("p", { className: "tokens" }, ...tokens.flatMap((token, i) => {
    const span = make("bdi", {}, visible(token.trim() || token));
    span.dataset.at = String(i);
    return token.includes("\n") ? [span, make("br")] : [span, " "];
  }));
  return make("div", { className: "strip" }, make("h4", {}, label), line);
}

// The maps and texts of one example; calling `point` marks a cell in all of them.
function maps({ tokens, real, predicted }) {
  const n = tokens.length;
  const byWeight = (weights) => (i) => mix(sequential, Math.sqrt(weights[i] / 255));
  const three = make("div", { className: "maps", tabIndex: 0, role: "application", label: "Heat maps: arrow keys move the cell that is read out", style: { "--count": n } },
    heatMap("Real", tokens, byWeight(real)),
    heatMap("Predicted", tokens, byWeight(predicted)),
    heatMap("Difference", tokens, (i) => mix(diverging, (1 + signedRoot((predicted[i] - real[i]) / 255)) / 2)));
  const readout = make("p", { className: "readout" });
  readout.setAttribute("aria-live", "polite");
  const strips = [strip("Real", tokens), strip("Predicted", tokens)];

  function mark(query, key) {
    three.style.setProperty("--query", query);
    three.style.setProperty("--key", key);
    for (const [kind, at] of [["queries", query], ["keys", key]]) {
      for (const labels of three.querySelectorAll(`.${kind}`)) {
        labels.querySelector(".at")?.classList.remove("at");
        labels.children[at].classList.add("at");
      }
    }
    for (const [shownIn, weights] of [[strips[0], real], [strips[1], predicted]]) {
      for (const span of shownIn.querySelectorAll("[data-at]")) {
        const other = Number(span.dataset.at);
        if (seen(query, other)) paint(span, byWeight(weights)(query * n + other));
        else span.removeAttribute("style");
        span.classList.toggle("query", other === query);
        span.classList.toggle("key", other === key);
      }
    }
  }

  function point(query, key) {
    if (query < 0 || key < 0 || query >= n || key >= n) return;
    if (query === view.query && key === view.key && readout.hasChildNodes()) return;
    Object.assign(view, { query, key });
    mark(query, key);
    const cell = query * n + key;
    const number = (label, value) => make("span", {}, `${label} `, make("b", {}, fixed(value / 255)));
    readout.replaceChildren(make("span", {}, "query ", make("bdi", {}, visible(tokens[query]).trim()), " → key ", make("bdi", {}, visible(tokens[key]).trim())), " ",
      ...(seen(query, key)
        ? [number("real", real[cell]), " ", number("predicted", predicted[cell]), " ", number("difference", predicted[cell] - real[cell])]
        : ["a later token, which the head cannot see"]));
  }

  function pointQuery(query) {
    const row = real.subarray(query * n, (query + 1) * n);
    point(query, row.indexOf(Math.max(...row)));
  }

  for (const kind of ["pointermove", "pointerdown"]) {
    three.addEventListener(kind, (event) => {
      if (event.target.tagName !== "CANVAS") return;
      const box = event.target.getBoundingClientRect();
      point(Math.floor((event.clientY - box.top) / box.height * n), Math.floor((event.clientX - box.left) / box.width * n));
    });
  }
  three.addEventListener("keydown", (event) => {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (!step) return;
    event.preventDefault();
    point(view.query + step[0], view.key + step[1]);
  });
  for (const shownIn of strips) {
    shownIn.addEventListener("pointerover", (event) => {
      if (event.target.dataset.at) pointQuery(Number(event.target.dataset.at));
    });
  }
  if (view.query === null || view.query >= n || view.key >= n) pointQuery(n - 1);
  else point(view.query, view.key);
  return { three, parts: [three, readout, mapLegends(), ...strips] };
}

function mapLegends() {
  return make("div", { className: "legend" },
    makeLegend(sequential, [[0, "0"], [0.5, "¼"], [1, "1"]], "Real and predicted weight"),
    makeLegend(diverging, [[0, "−1"], [0.5, "0"], [1, "+1"]], "Difference: predicted − real"));
}

// Returns the section, and `visit`, which shows a cell of one of the texts.
function attention(examples) {
  const place = make("div");
  const show = () => {
    const { three, parts } = maps(examples[view.text]);
    three.classList.toggle("large", view.large);
    place.replaceChildren(...parts);
  };
  view.text = Math.min(view.text, examples.length - 1);
  const texts = choice("Text", examples.map(({ document }) => document), view.text, (i) => { view.text = i; show(); });
  const sizes = choice("Size of the heat maps", ["Side by side", "With tokens"], Number(view.large), (i) => { view.large = i === 1; show(); });
  show();
  const section = make("section", { className: "attention" }, make("h3", {}, "Attention on a text"),
    make("div", { className: "heading" }, texts, sizes), place,
    make("p", { className: "note" }, "A row is a query, a column a key. Colours follow the square root of the weight. Point at a cell to read it, at a token to see where it looks."));
  const visit = (text, query, key) => {
    Object.assign(view, { query, key });
    texts.querySelectorAll("input")[text].checked = true;
    view.text = text;
    show();
    section.scrollIntoView({ block: "nearest" });
  };
  return { section, visit };
}
