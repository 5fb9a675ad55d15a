// ---- where a program came from

const known = (label, value) => (value === null || value === "" ? [] : [make("dt", {}, label), make("dd", {}, value)]);

function stepText(step) {
  if (!step.proposed) return "not proposed in this run: a worked example of the prompt, or known to the library before";
  const cost = [step.tokens === null ? "" : plural(step.tokens, "token"), step.seconds > 0 ? `${fixed(step.seconds, 1)} s` : ""].filter(Boolean);
  return `stage ${step.stage} by ${step.by}, for ${step.place}, batch ${step.batch}, seed ${step.seed}` + (cost.length ? `, ${cost.join(" in ")}` : "");
}

function lineage(entry) {
  return make("ol", { className: "lineage" }, ...entry.lineage.map((step) => make("li", {}, highlighted(step.program),
    make("p", { className: "note" }, stepText(step)),
    ...(step.prompt_sha256 ? [make("p", { className: "note" }, "prompt sha256 ", make("code", {}, step.prompt_sha256))] : []),
    ...(step.raw ? [make("p", { className: "note" }, "as written: ", make("code", { className: "raw" }, step.raw))] : []))));
}

function proposalsText({ number, duplicates, rejected, codes }) {
  const reasons = Object.entries(codes).map(([code, count]) => `${code} ${count}`).join(", ");
  return `${number}: ${plural(duplicates, "duplicate")}, ${rejected} rejected${reasons && ` (${reasons})`}`;
}

function origin(entry) {
  const { run, proposed } = entry;
  return make("section", {}, make("h3", {}, "Where it came from"),
    proposed ? lineage(entry) : make("p", { className: "note" }, "The library holds the chosen programs alone, not how they were found."),
    make("dl", { className: "origin" },
      ...known("Program", make("code", {}, entry.program_hash)), ...known("First seen", entry.first_seen),
      ...known("Proposals for this head", proposed && proposalsText(proposed)),
      ...known("Run", `${run.id}, seed ${run.seed}, ${run.started} to ${run.finished ?? "unfinished"}`),
      ...known("Proposer", run.proposer), ...known("Texts", run.texts), ...known("Version", `headscript ${run.version}`)));
}
