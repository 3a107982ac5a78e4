// Images that two runs explained: what became of them, and their maps on a scale of both.

const KINDS = [
  ["fixed", "✓ fixed", "outcome"],
  ["broken", "✗ broken", "outcome"],
  ["both_wrong", "✗ both wrong", "outcome"],
  ["both_right", "✓ both right", "outcome"],
  ["elsewhere", "◎ looks elsewhere", "look"],
  ["changed", "≠ changed", "prediction"],
  ["unchanged", "= unchanged", "prediction"],
];
const truthKnown = images.some((image) => image.truth !== undefined);
/** Where the thumbnail of each image lies, by the image's URL. */
const smallOf = new Map();
const thumbnailOf = (url) => smallOf.get(url);

function urlOf(side, file) {
  const { files: folder, small } = data.sides[side];
  const url = folder + file;
  smallOf.set(url, `${small}thumbnails/${file.replace(/\.(png|webp)$/, ".jpg")}`);
  return url;
}

for (const [place, image] of images.entries()) {
  image.place = place;
  image.sides = [image.a, image.b];
  image.kinds = new Set([image.outcome]);
  if (image.changed) image.kinds.add("changed");
  if (image.agreement?.elsewhere) image.kinds.add("elsewhere");
  image.original = image.ground && urlOf(...image.ground);
  for (const [side, one] of image.sides.entries()) {
    for (const [key, file] of Object.entries(one.files)) one.files[key] = urlOf(side, file);
  }
}
const alphabetical = [...images].sort((a, b) => a.path.localeCompare(b.path));
for (const [rank, image] of alphabetical.entries()) image.rank = rank;

const change = (of) => (image) => {
  const [a, b] = image.sides.map(of);
  return typeof a === "number" && typeof b === "number" ? b - a : null;
};
const SORTS = {
  common: { title: "strongest evidence in common", value: (image) => image.agreement?.common, first: "up", ways: ["least in common first", "most in common first"] },
  spearman: { title: "rank correlation of the maps", value: (image) => image.agreement?.spearman, first: "up" },
  loss: { title: "change of the loss", value: change((one) => one.loss), ways: ["most improved first", "most worsened first"] },
  confidence: { title: "change of the confidence", value: change((one) => one.prediction.probability), ways: ["largest drop first", "largest rise first"] },
  path: { title: "path", value: (image) => image.rank, first: "up", ways: ["A to Z", "Z to A"] },
};
for (const [key, { value }] of Object.entries(SORTS)) {
  if (!images.some((image) => typeof value(image) === "number")) delete SORTS[key];
}

/** What the bytes of the heatmaps of an image are multiplied by, so that 255 ends the scale. */
function factors(image) {
  const most = Math.max(...image.sides.map(({ heat }) => heat?.peak ?? 0));
  return image.sides.map(({ heat }) =>
    heat && (255 / heat.top) * (state.scale === "own" ? 1 : heat.peak / most));
}

/** Canvases that are in no card at the moment. */
const spare = [];

/** The heatmap of a side where it lies on the original; so many pixels a side. */
function heatmap(image, side, pixels) {
  const { heat } = image.sides[side];
  const canvas = spare.pop() ?? document.createElement("canvas");
  const values = enlarge(bytes(heat.map), heat.shape, pixels, factors(image)[side]);
  paint(canvas, values, pixels, pixels);
  const [left, top, width, height] = heat.box.map((part) => `${100 * part}%`);
  Object.assign(canvas.style, { left, top, width, height });
  canvas.className = width === "100%" && height === "100%" ? "over" : "over part";
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", `Heatmap of ${"AB"[side]}`);
  return canvas;
}

const noMap = (image, side) => {
  if (state.map !== "heat") return "The run wrote no such map.";
  return image.sides[side].target ? "Blank: no evidence" : "No heatmap";
};
