// ---- where the program is most wrong

const WORST = 8;

// The cells with the largest difference over all texts: [{ text, query, key, real, predicted }].
function worstCells(examples) {
  const found = examples.flatMap(({ tokens, real, predicted }, text) => {
    const n = tokens.length;
    return [...real.keys()].filter((i) => real[i] !== predicted[i]).map((i) => ({
      text, query: Math.floor(i / n), key: i % n, real: real[i] / 255, predicted: predicted[i] / 255,
    }));
  });
  const error = (cell) => Math.abs(cell.predicted - cell.real);
  return found.sort((a, b) => error(b) - error(a)).slice(0, WORST);
}

function mistakes(examples, visit) {
  const rows = worstCells(examples).map(({ text, query, key, real, predicted }) => {
    const { document, tokens } = examples[text];
    const said = [make("bdi", {}, visible(tokens[query])), " → ", make("bdi", {}, visible(tokens[key]))];
    const open = make("button", { type: "button", className: "pair" }, ...said);
    open.addEventListener("click", () => visit(text, query, key));
    const difference = predicted - real;
    const bar = make("i", { className: difference < 0 ? "less" : "more-than", style: { width: percent(Math.abs(difference) / 2) } });
    return make("tr", {}, make("td", {}, open), make("td", { className: "number" }, fixed(real)),
      make("td", { className: "number" }, fixed(predicted)),
      make("td", { className: "number" }, make("span", {}, (difference > 0 ? "+" : "") + fixed(difference))),
      make("td", { className: "balance" }, bar), make("td", { className: "from" }, document));
  });
  const head = ["query → key", "real", "predicted", "difference"].map((label, i) =>
    make("th", { scope: "col", className: i ? "number" : "" }, label));
  const table = make("table", { className: "mistakes" }, make("thead", {}, make("tr", {}, ...head, make("td"), make("th", { scope: "col" }, "text"))), make("tbody", {}, ...rows));
  return make("section", {}, make("h3", {}, "Worst mistakes"),
    ...(rows.length ? [make("div", { className: "scroll" }, table)] : [make("p", { className: "note" }, "On these texts the program is exact to the precision that is shown, 1/255.")]));
}
