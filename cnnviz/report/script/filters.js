// What the images of a run can be filtered by.

const INITIAL = {
  predicted: "", truth: "", show: "", q: "", sort: "run", down: "",
  map: data.maps[0]?.key ?? "", mix: "100", open: "",
};
/** The lists to choose from, of which some leave images out. */
const SELECTS = ["predicted", "truth", "sort", "map"];
const FILTERS = ["predicted", "truth"];

/** The predicted class: the highest, whether or not an image may belong to several. */
const predictionsOf = (image) => (image.prediction ? [String(image.prediction.index)] : []);

/** The true classes: as a rule one; "empty" of an image that belongs to none. */
function truthsOf(image) {
  if (image.true_classes) return image.true_classes.length ? image.true_classes.map((one) => String(one.index)) : ["empty"];
  return [image.ground_truth ? String(image.ground_truth.index) : "none"];
}

function fits(image) {
  if (state.predicted && !predictionsOf(image).includes(state.predicted)) return false;
  if (state.truth) {
    if (!truthsOf(image).includes(state.truth) || image.status !== "ok") return false;
  }
  return !state.q || image.path.toLowerCase().includes(state.q.toLowerCase());
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
  offer("predicted", predictionsOf, "all predictions");
  offer("truth", (image) => (image.status === "ok" ? truthsOf(image) : []), "all true classes");
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
