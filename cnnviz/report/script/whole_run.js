// What the images of a run are filtered and sorted by: their records, which the page holds.

/** Whether an image may belong to several classes. */
const multiLabel = images.some((image) => image.predicted_classes);
const truthKnown = images.some((image) => image.ground_truth || image.true_classes);
const lossKnown = images.some((image) => typeof image.loss === "number");
const marginKnown = images.some((image) => typeof image.margin === "number");
for (const [place, image] of images.entries()) prepare(image, place);

const VALUES = {
  confidence: (image) => image.prediction?.probability ?? image.prediction?.logit,
  margin: (image) => image.margin,
  loss: (image) => image.loss,
};

/** The predicted class: the highest, whether or not an image may belong to several. */
const predictionsOf = (image) => (image.prediction ? [String(image.prediction.index)] : []);

/** The true classes: as a rule one; "empty" of an image that belongs to none. */
function truthsOf(image) {
  if (image.status !== "ok") return [];
  if (image.true_classes) return image.true_classes.length ? image.true_classes.map((one) => String(one.index)) : ["empty"];
  return [image.ground_truth ? String(image.ground_truth.index) : "none"];
}

const hasInPath = (image, text) => image.path.toLowerCase().includes(text);
const countsOfPredictions = () => countsOf(predictionsOf);
const countsOfTruths = () => countsOf(truthsOf);
