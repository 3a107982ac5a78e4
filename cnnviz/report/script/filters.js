// What the images of a run can be filtered by.

const INITIAL = {
  predicted: "", truth: "", show: "", q: "", sort: "run", down: "",
  map: data.maps[0]?.key ?? "", mix: "100", open: "",
};
/** The lists to choose from, of which some leave images out. */
const SELECTS = ["predicted", "truth", "sort", "map"];
const FILTERS = ["predicted", "truth"];

function fits(image) {
  if (state.predicted && !predictionsOf(image).includes(state.predicted)) return false;
  if (state.truth && !truthsOf(image).includes(state.truth)) return false;
  return !state.q || hasInPath(image, state.q.toLowerCase());
}

/** The pair of classes that is filtered for, in words. */
function chosenClasses() {
  if (multiLabel || !state.predicted || !state.truth || state.truth === "none") return "";
  const truth = data.classes[state.truth];
  return state.truth === state.predicted
    ? `: ${truth} (correct)`
    : `: ${truth} predicted as ${data.classes[state.predicted]}`;
}

function fillTools() {
  offer("predicted", countsOfPredictions(), "all predictions");
  offer("truth", countsOfTruths(), "all true classes");
  byId("truth-label").hidden = !truthKnown;
}

/** Show the images of a pair, and nothing else that was filtered before. */
function showPair(button) {
  const same = button.getAttribute("aria-pressed") === "true";
  set(same
    ? { truth: "", predicted: "" }
    : { truth: truthKnown && !multiLabel ? button.dataset.truth : "", predicted: button.dataset.predicted, show: "", q: "" });
  if (same) return;
  goTo("images-title");
}

function marked() {
  for (const button of document.querySelectorAll("button[data-truth]")) {
    button.setAttribute(
      "aria-pressed",
      button.dataset.truth === state.truth && button.dataset.predicted === state.predicted,
    );
  }
}
