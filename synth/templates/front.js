// ---- size against fit: what the other programs that were tried on this head reach

// The candidates that no smaller or equal one reaches, smallest first.
function paretoFront(candidates) {
  let best = -1;
  return [...candidates].sort((a, b) => a.terms - b.terms || b.iou - a.iou)
    .filter((one) => one.iou !== null && one.iou > best && ((best = one.iou), true));
}

function front(entry) {
  const tried = entry.candidates.filter((one) => one.iou !== null);
  if (tried.length < 2) return [];
  const best = paretoFront(tried);
  const widest = Math.max(4, ...tried.map((one) => one.terms));
  const x = (terms) => (terms - 0.5) / widest;
  // A stair: each size reaches what the best program up to it does.
  const stair = best.flatMap((one, i) => [[x(one.terms), one.iou], [i + 1 < best.length ? x(best[i + 1].terms) : 1, one.iou]]);
  const line = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  line.setAttribute("viewBox", "0 0 1 1");
  line.setAttribute("preserveAspectRatio", "none");
  line.setAttribute("aria-hidden", "true");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
  path.setAttribute("points", stair.map(([a, b]) => `${a},${1 - b}`).join(" "));
  line.append(path);
  const dots = tried.map((one) => make("i", {
    className: ["candidate", one.trivial ? "simple" : "", best.includes(one) ? "best" : "", one.program === entry.program ? "chosen" : ""].join(" "),
    title: `${one.program}: IoU ${fixed(one.iou)}, ${plural(one.terms, "term")}`,
    style: { left: percent(x(one.terms)), bottom: percent(one.iou) },
  }));
  const ticks = (className, all) => make("div", { className }, ...all.map(([at, text]) => make("span", { style: { "--at": percent(at) } }, text)));
  const every = Math.ceil(widest / 16);
  const plot = make("div", { className: "plot", role: "img", label: "IoU against the number of terms; the programs on the front are listed below" },
    line, ...dots,
    ticks("ticks-y", [0, 0.25, 0.5, 0.75, 1].map((at) => [at, String(at)])),
    ticks("ticks-x", [...Array(widest).keys()].filter((i) => i % every === 0).map((i) => [x(i + 1), String(i + 1)])));
  const list = make("ol", { className: "front" }, ...best.map((one) => make("li", { className: one.program === entry.program ? "chosen" : "" },
    make("span", { className: "value" }, `${plural(one.terms, "term")}, `, make("b", {}, fixed(one.iou))), highlighted(one.program))));
  const searched = tried.some((one) => !one.trivial && one.program !== entry.program);
  return [make("section", {}, make("h3", {}, "Size against fit"),
    make("div", { className: "axes front-axes" }, make("span", { className: "axis-y" }, "IoU, select documents"), plot, make("span", { className: "axis-x" }, "terms")),
    make("p", { className: "key" }, make("i", { className: "candidate chosen best" }), " chosen ", make("i", { className: "candidate best" }), " on the front ",
      make("i", { className: "candidate" }), " other ", make("i", { className: "candidate simple" }), " trivial"),
    make("p", { className: "note" }, "IoU here is that on the select documents, by which programs are chosen; the scores above are on other documents. " +
      `The smallest program within ${data.tolerance} of the best is chosen.` +
      (searched ? "" : " The library holds no scores of other programs that were tried on this head, so only the chosen and the trivial ones are shown.")),
    list)];
}
