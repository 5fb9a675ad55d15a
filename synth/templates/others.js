// ---- programs that other measures chose for the head

const CHOSEN_BY = {
  iou: "Overlaps most",
  output_error: "Writes most nearly what the head writes",
  tuned: "Tuned inside the model",
};

function others(entry) {
  if (!entry.others.length) return [];
  const told = (label, value, digits) => (value === null ? [] : [`${label} ${fixed(value, digits)}`]);
  const parts = entry.others.flatMap((one) => [
    make("h4", {}, CHOSEN_BY[one.choice] ?? one.choice),
    make("p", { className: "note" }, [plural(one.terms, "term"), ...told("IoU", one.iou), ...told("IoU on select documents", one.iou === null ? one.select_iou : null),
      ...told("output error", one.output_error), ...told("damage", one.damage, 4)].join(", ")),
    make("div", { className: "program" }, make("pre", { tabIndex: 0, role: "region", label: `Program: ${CHOSEN_BY[one.choice] ?? one.choice}` }, highlighted(one.program))),
  ]);
  return [make("details", {}, make("summary", {}, `${plural(entry.others.length, "other program")} chosen for this head, to stand in its place`), ...parts)];
}
