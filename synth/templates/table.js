// ---- the table of all programs: a column's button sorts by it

const SORT_KEYS = {
  place: (entry) => entry.layer * data.heads + entry.head,
  program: (entry) => entry.program,
  category: (entry) => entry.category,
  terms: (entry) => entry.terms,
  iou: (entry) => entry.iou,
  iou_no_sink: (entry) => entry.iou_no_sink,
  trivial: (entry) => entry.baseline?.iou ?? null,
  output_error: (entry) => entry.output_error,
  damage: (entry) => entry.damage,
};

// Missing values come last in both directions.
function sortTable(key, descending) {
  const body = byId("table").tBodies[0];
  const value = (row) => SORT_KEYS[key](entries.get(row.dataset.head));
  const compare = (a, b) => {
    const [x, y] = [value(a), value(b)];
    if (x === null || y === null) return (x === null) - (y === null);
    return (descending ? -1 : 1) * (typeof x === "string" ? x.localeCompare(y) : x - y);
  };
  body.append(...[...body.rows].sort(compare));
}

function buildTable() {
  const buttons = [...byId("table").querySelectorAll("[data-sort]")];
  for (const button of buttons) {
    button.addEventListener("click", () => {
      const column = button.closest("th");
      // A score is first sorted from its largest value.
      const now = column.getAttribute("aria-sort");
      const descending = now ? now === "ascending" : column.classList.contains("number");
      for (const other of buttons) other.closest("th").removeAttribute("aria-sort");
      column.setAttribute("aria-sort", descending ? "descending" : "ascending");
      sortTable(button.dataset.sort, descending);
    });
  }
  byId("table").addEventListener("click", (event) => { if (event.target.closest("a")) revealPanel(); });
}
