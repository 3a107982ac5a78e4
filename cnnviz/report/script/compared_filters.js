// What the images of a comparison can be filtered by.

const INITIAL = {
  truth: "", "by-a": "", "by-b": "", show: "", q: "",
  sort: Object.keys(SORTS)[0], down: "", map: "heat", scale: "common", mix: String(data.mix), open: "",
};
/** The lists to choose from, of which some leave images out. */
const SELECTS = ["truth", "by-a", "by-b", "sort", "map", "scale"];
const FILTERS = ["truth", "by-a", "by-b"];

function truthsOf(image) {
  if (image.truth === undefined) return ["none"];
  return image.truths.length ? image.truths.map(String) : ["empty"];
}

const predictionsOf = (one) => [String(one.number)];

function fits(image) {
  if (state.truth && !truthsOf(image).includes(state.truth)) return false;
  if (state["by-a"] && !predictionsOf(image.a).includes(state["by-a"])) return false;
  if (state["by-b"] && !predictionsOf(image.b).includes(state["by-b"])) return false;
  if (!state.q) return true;
  const wanted = state.q.toLowerCase();
  return [image.path, image.path_b].some((path) => path?.toLowerCase().includes(wanted));
}

/** The classes that are filtered for, in words. */
function chosenClasses() {
  const told = [];
  if (state.truth && data.classes[state.truth]) told.push(`true class ${data.classes[state.truth]}`);
  for (const side of ["a", "b"]) {
    const chosen = data.classes[state[`by-${side}`]];
    if (chosen) told.push(`predicted by ${side.toUpperCase()} as ${chosen}`);
  }
  return told.length ? `: ${told.join(", ")}` : "";
}

function fillTools() {
  offer("truth", countsOf(truthsOf), "all true classes");
  offer("by-a", countsOf((image) => predictionsOf(image.a)), "all predictions");
  offer("by-b", countsOf((image) => predictionsOf(image.b)), "all predictions");
  byId("truth-label").hidden = !truthKnown;
}

/** Show the images of a row, a class or a cell, and nothing else that was filtered before. */
function showOnly(button, wanted) {
  const nothing = { ...Object.fromEntries(FILTERS.map((key) => [key, ""])), show: "", q: "" };
  if (button.getAttribute("aria-pressed") === "true") {
    set(nothing);
    return;
  }
  set({ ...nothing, ...wanted });
  goTo("images-title");
}

/** What a row of outcomes stands for: changed is one only where the true class is unknown. */
function wantedByRow(row) {
  const { show: kind } = row.dataset;
  const unknown = truthKnown && ["changed", "unchanged"].includes(kind);
  return { show: kind, truth: unknown ? "none" : "" };
}

/** What a cell of the matrix stands for: of a change, the images that came to it or left it. */
function wantedBy(cell) {
  const { truth, predicted, a, b } = cell.dataset;
  if (shownCells !== "change") return { truth, [`by-${shownCells}`]: predicted };
  const side = Number(b) < Number(a) ? "by-a" : "by-b";
  return { truth, [side]: predicted, show: a === b ? "" : "changed" };
}

/** Images that a run drew have their own scale and opacity. */
function heatOnly() {
  for (const only of document.querySelectorAll("#scale-label, .tools .mix, #large-scale, .mixing")) {
    only.hidden = state.map !== "heat";
  }
}

function marked() {
  heatOnly();
  const press = (button, wanted) => button.setAttribute("aria-pressed",
    [...FILTERS, "show"].every((key) => state[key] === (wanted[key] ?? "")));
  for (const button of document.querySelectorAll("button[data-show]")) press(button, wantedByRow(button));
  for (const button of document.querySelectorAll("button[data-class]")) press(button, { truth: button.dataset.class });
  for (const cell of document.querySelectorAll("button[data-truth]")) press(cell, wantedBy(cell));
}
