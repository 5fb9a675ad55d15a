// Whatever comes from the data reaches the page as text nodes only.

const root = document.documentElement;
window.addEventListener("error", (event) => { root.dataset.error = event.message; });
window.addEventListener("unhandledrejection", (event) => { root.dataset.error = String(event.reason); });

const byId = (id) => document.getElementById(id);
const data = JSON.parse(byId("report-data").textContent);
const nameOf = (layer, head) => `L${layer}H${head}`;
const entries = new Map(data.entries.map((entry) => [entry.name, entry]));

function make(tag, properties = {}, ...children) {
  const { role, label, style = {}, ...rest } = properties;
  const node = Object.assign(document.createElement(tag), rest);
  if (role) node.setAttribute("role", role);
  if (label) node.setAttribute("aria-label", label);
  for (const [name, value] of Object.entries(style)) node.style.setProperty(name, value);
  node.append(...children);
  return node;
}

const minus = (text) => text.replace("-", "−");
const fixed = (value, digits = 2) => (value === null ? "–" : minus(value.toFixed(digits)));
const brief = (value) => minus(Math.abs(value) < 9.995 ? value.toFixed(2).replace(/^(-?)0\./, "$1.").replace(/^1\.00$/, "1.0") : value.toFixed(0));
const plural = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;
const range = ([low, high]) => (low === null || high === null ? "" : `${fixed(low)}–${fixed(high)}`);
const percent = (fraction) => `${100 * Math.min(Math.max(fraction, 0), 1)}%`;

// A token as it can be seen: line breaks and tabs as signs, a token without letters as a mark.
function visible(token) {
  return token.replace(/\r?\n|\r/g, "↵").replace(/\t/g, "⇥").replace(/^ +$/, "␣") || "·";
}

// One of several, as a row of radio buttons; `options` are labels.
function choice(legend, options, chosen, onChoose) {
  const name = `choice-${legend.replace(/\W+/g, "-")}`;
  return make("fieldset", { className: "choice" }, make("legend", { className: "unseen" }, legend),
    ...options.map((option, i) => {
      const radio = make("input", { type: "radio", name, checked: i === chosen });
      radio.addEventListener("change", () => onChoose(i));
      return make("label", {}, radio, make("span", {}, option));
    }));
}

const linkTo = (name) => make("a", { href: `#${name}` }, name);
