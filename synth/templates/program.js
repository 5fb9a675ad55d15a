// ---- a program with highlighted syntax

const PIECES = /"[^"]*"|\d+(?:\.\d+)?|[a-z_]+|[^"\da-z_]+|./gsu;
const KEYWORDS = new Set(["when", "and", "or", "not"]);

function pieceClass(piece) {
  if (piece[0] === '"') return "word";
  if (/^\d/.test(piece)) return "digits";
  if (KEYWORDS.has(piece)) return "keyword";
  return /^[a-z_]/.test(piece) ? "primitive" : "";
}

// One line for each rule.
function highlighted(program) {
  const rules = program.split("; ").map((rule, i, all) => make("span", { className: "rule" },
    ...((rule + (i < all.length - 1 ? ";" : "")).match(PIECES) ?? []).map((piece) => make("span", { className: pieceClass(piece) }, piece))));
  return make("code", { className: "highlighted" }, ...rules);
}

function programBlock(program) {
  const copy = make("button", { type: "button", className: "copy", label: "Copy the program" }, "Copy");
  copy.addEventListener("click", async () => {
    await navigator.clipboard.writeText(program);
    copy.textContent = "Copied";
  });
  return make("div", { className: "program" },
    make("pre", { tabIndex: 0, role: "region", label: "Program" }, highlighted(program)), copy);
}
