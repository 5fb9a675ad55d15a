// ---- the scores of one head

// A row of the plot: a label, a mark with its interval on an axis from 0 to 1, the number.
function dotRow(className, label, value, interval, perDocument = []) {
  const track = make("div", { className: `track ${className}` },
    ...perDocument.filter((one) => one !== null).map((one) => make("i", { className: "document", style: { left: percent(one) } })));
  if (!interval.includes(null)) {
    const [low, high] = interval;
    track.append(make("i", { className: "interval", style: { left: percent(low), width: percent(high - low) } }));
  }
  if (value !== null) track.append(make("i", { className: "mark", style: { left: percent(value) } }));
  return [make("dt", { className }, label), make("dd", { className }, track,
    make("span", { className: "value" }, make("b", {}, fixed(value)), " ", make("small", {}, range(interval))))];
}

function axisRow() {
  const ticks = [0, 0.25, 0.5, 0.75, 1].map((at) => make("span", { style: { left: percent(at) } }, String(at)));
  return make("div", { className: "axis-row" }, make("div", { className: "ticks" }, ...ticks), make("span", {}));
}

function scores(entry) {
  const fact = (label, value, interval = null) => make("div", {}, make("dt", {}, label),
    make("dd", {}, value, ...(interval ? [" ", make("small", {}, range(interval))] : [])));
  const best = entry.baseline?.program;
  const trivial = [...entry.trivial].sort((a, b) => b.iou - a.iou).map((one) => dotRow(
    one.program === best ? "trivial best" : "trivial",
    make("span", {}, make("code", {}, one.program), one.program === best ? " (best trivial)" : ""),
    one.iou, one.iou_ci));
  return make("section", {}, make("h3", {}, "Scores"),
    make("dl", { className: "dots" }, ...dotRow("ours", "IoU of this program", entry.iou, entry.iou_ci, entry.iou_per_document), ...trivial.flat()),
    axisRow(),
    make("dl", { className: "figures" },
      fact("IoU without the first token", fixed(entry.iou_no_sink), entry.iou_no_sink_ci), fact("JSD", fixed(entry.jsd), entry.jsd_ci),
      fact("Output error", fixed(entry.output_error), entry.output_error_ci),
      ...(entry.damage === null ? [] : [fact("Damage", fixed(entry.damage, 4))]),
      fact("Size", plural(entry.terms, "term"))),
    make("p", { className: "note" }, `Means over ${plural(entry.iou_per_document.length, "test document")} that no step of the search has seen; ` +
      "ranges are 95% intervals over documents, faint ticks the documents one by one." +
      (best ? "" : " The library does not hold what trivial programs reach.")));
}
