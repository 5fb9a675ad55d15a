// ---- one head

let shown = "";

// Heads of the same program, and those whose programs differ from it in constants alone.
function relatives(entry) {
  const others = data.entries.filter((other) => other !== entry);
  const same = others.filter((other) => other.program === entry.program);
  const alike = others.filter((other) => other.shape === entry.shape && other.program !== entry.program);
  const list = (label, heads) => make("p", { className: "relatives" }, label, heads.length ? "" : "none",
    ...heads.flatMap((other) => [linkTo(other.name), " "]));
  return make("section", {}, make("h3", {}, "Other heads with this program"),
    list("The same program: ", same), list("The same but for its numbers: ", alike));
}

function neighbours(name) {
  const at = data.entries.findIndex((entry) => entry.name === name);
  const to = (entry, text, label) => (entry ? [make("a", { href: `#${entry.name}`, className: "step", label: `${label}: ${entry.name}` }, text)] : []);
  const back = make("button", { type: "button", className: "step back" }, "All heads");
  back.addEventListener("click", () => byId("overview-title").scrollIntoView());
  return make("nav", { label: "Other heads" }, back,
    ...to(data.entries[at - 1], "‹", "Previous head"), ...to(at < 0 ? undefined : data.entries[at + 1], "›", "Next head"));
}

function title(name, entry) {
  const [layer, head] = name.slice(1).split("H");
  const category = entry ? [make("span", { className: "chip" }, entry.category)] : [];
  return make("div", { className: "title" },
    make("h2", { id: "panel-title" }, name, " ", make("small", {}, `layer ${layer}, head ${head}`)), ...category, neighbours(name));
}

function showHead(name) {
  shown = name;
  const entry = entries.get(name);
  for (const cell of cells()) {
    cell.setAttribute("aria-selected", String(cell.dataset.head === name));
    if (cell.dataset.head === name) moveTo(cell);
  }
  const panel = byId("panel");
  panel.dataset.head = name;
  panel.replaceChildren(title(name, entry));
  if (!entry) {
    panel.append(make("p", { className: "empty" }, "This head has no program."));
    return;
  }
  const matrices = make("div", { className: "matrices" });
  panel.append(programBlock(entry.program), ...(entry.sentence ? [make("p", { className: "sentence" }, entry.sentence)] : []),
    ...others(entry), scores(entry), matrices, relatives(entry), ...front(entry), origin(entry));
  showMatrices(entry, matrices);
}

// Unpacking takes a moment, in which the reader may have gone to another head.
async function showMatrices(entry, place) {
  if (!entry.texts.length) {
    place.append(make("p", { className: "empty" }, "The library holds no attention to look at. ", make("code", {}, "headscript report --texts FILE"), " runs the model on some texts and shows it here."));
    return;
  }
  if (!("DecompressionStream" in window)) {
    place.append(make("p", { className: "empty" }, "This browser is too old to unpack the heat maps; any of 2023 or later can."));
    return;
  }
  const examples = await unpack(entry);
  if (!place.isConnected) return;
  const { section, visit } = attention(examples);
  place.append(section, mistakes(examples, visit));
  root.dataset.matrices = entry.name;
}
