// ---- start, links and keys

function bestGain() {
  const gain = (entry) => (entry.iou ?? 0) - (entry.baseline?.iou ?? 0);
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

const systemTheme = matchMedia("(prefers-color-scheme: dark)");

function setTheme(theme) {
  root.dataset.theme = theme;
  byId("theme").textContent = theme === "dark" ? "Light" : "Dark";
  readColours();
  paintGrid();
  if (shown) showHead(shown);
}

const otherTheme = () => setTheme(root.dataset.theme === "dark" ? "light" : "dark");

const KEYS = {
  "/": () => byId("search").focus(),
  "n": () => stepTo(1),
  "p": () => stepTo(-1),
  "m": nextMeasure,
  "t": otherTheme,
  "?": () => byId("keys").showModal(),
};

function onKey(event) {
  const typing = event.target.closest("input:not([type=radio], [type=range]), dialog");
  if (typing || event.ctrlKey || event.metaKey || event.altKey || !(event.key in KEYS)) return;
  event.preventDefault();
  KEYS[event.key]();
}

buildMeasures();
buildGrid();
buildTable();
setTheme(systemTheme.matches ? "dark" : "light");
buildFilter();
if (openFromHash()) revealPanel();
else showHead(bestGain());
systemTheme.addEventListener("change", () => setTheme(systemTheme.matches ? "dark" : "light"));
window.addEventListener("hashchange", () => { if (openFromHash()) revealPanel(); });
document.addEventListener("keydown", onKey);
byId("theme").addEventListener("click", otherTheme);
byId("keys-open").addEventListener("click", KEYS["?"]);
root.dataset.ready = "yes";
