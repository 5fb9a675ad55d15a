// ---- which heads are meant: all that match the search and both ranges

const mostTerms = Math.max(1, ...data.entries.map((entry) => entry.terms));
const filter = { words: [], phrase: "", least: 0, most: mostTerms };
const haystacks = new Map(data.entries.map((entry) => [entry.name,
  [entry.program, entry.sentence, ...entry.lineage.map((step) => step.by)].join("\n").toLowerCase()]));

// A word that names a layer, a head or a category means just that; any other is looked for.
function holds(entry, word) {
  if (data.categories.includes(word)) return entry.category === word;
  const place = /^l(\d+)(?:h(\d+))?$/.exec(word);
  if (place) return entry.layer === +place[1] && (place[2] === undefined || entry.head === +place[2]);
  return haystacks.get(entry.name).includes(word);
}

function matches(entry) {
  const whole = filter.words.length > 1 && haystacks.get(entry.name).includes(filter.phrase);
  const said = whole || filter.words.every((word) => holds(entry, word));
  return said && (entry.iou ?? 0) >= filter.least && entry.terms <= filter.most;
}

const filtering = () => filter.phrase !== "" || filter.least > 0 || filter.most < mostTerms;

function applyFilter() {
  const found = new Set(data.entries.filter(matches).map((entry) => entry.name));
  for (const cell of cells()) cell.classList.toggle("dim", filtering() && !found.has(cell.dataset.head));
  for (const row of byId("table").tBodies[0].rows) row.hidden = !found.has(row.dataset.head);
  byId("matches").textContent = filtering() ? `${found.size} of ${plural(data.entries.length, "program")} match.` : "";
}

function readFilter() {
  filter.phrase = byId("search").value.trim().toLowerCase();
  filter.words = filter.phrase.split(/\s+/);
  filter.least = Number(byId("least").value);
  filter.most = Number(byId("most").value);
  byId("least-shown").textContent = fixed(filter.least);
  byId("most-shown").textContent = plural(filter.most, "term");
  applyFilter();
  for (const button of byId("legend").querySelectorAll("button")) markPressed(button);
}

function searchFor(text) {
  byId("search").value = text;
  readFilter();
}

function buildFilter() {
  Object.assign(byId("most"), { max: mostTerms, value: mostTerms });
  for (const id of ["search", "least", "most"]) byId(id).addEventListener("input", readFilter);
  byId("search").addEventListener("keydown", (event) => {
    const first = data.entries.find(matches);
    if (event.key === "Enter" && first) go(first.name);
    if (event.key === "Escape") { searchFor(""); byId("search").blur(); }
  });
  readFilter();
}

// The next or previous head that matches, around the end.
function stepTo(direction) {
  // The hash changes at once, what is shown a moment later: keys may come faster.
  const named = location.hash.slice(1);
  const here = data.entries.some((entry) => entry.name === named) ? named : shown;
  const found = data.entries.filter((entry) => matches(entry) || entry.name === here);
  const at = found.findIndex((entry) => entry.name === here);
  const next = found.at((at + direction + found.length) % found.length);
  if (next) go(next.name);
}
