// ---- colours: the style sheet names the stops, light and dark

let sequential, diverging, qualitative;
function readColours() {
  const stops = (name) => getComputedStyle(root).getPropertyValue(name).trim().split(/\s+/)
    .map((hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16)));
  sequential = stops("--sequential");
  diverging = stops("--diverging");
  qualitative = stops("--qualitative");
}

// The colour at 0..1 along the stops, as [red, green, blue].
function mix(stops, position) {
  const x = Math.min(Math.max(position, 0), 1) * (stops.length - 1);
  const i = Math.min(Math.floor(x), stops.length - 2);
  return stops[i].map((c, k) => Math.round(c + (stops[i + 1][k] - c) * (x - i)));
}

const css = (colour) => `rgb(${colour.join(" ")})`;
const categoryColour = (category) => qualitative[data.categories.indexOf(category) % qualitative.length];

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
  const bar = make("div", { className: "gradient", style: { background: `linear-gradient(to right, ${stops.map(css).join(", ")})` } });
  const labels = make("div", { className: "ticks" }, ...ticks.map(([at, text]) =>
    make("span", { style: { left: percent(at) } }, text)));
  return make("div", { className: "scale" }, make("div", {}, bar, labels), make("span", { className: "note" }, note));
}
