// What builds elements, and what is said in them.

// Names of files and classes are somebody else's text: it gets into the page by textContent only.
const data = JSON.parse(document.getElementById("data").textContent);
const images = data.images;
/** What a page that is one file holds in place of files beside it: data URLs, by their own URL. */
const files = JSON.parse(document.getElementById("files").textContent);
const byId = (id) => document.getElementById(id);
document.documentElement.className = "js";

function h(tag, properties, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(properties || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (key === "class") element.className = value;
    else element.setAttribute(key, value === true ? "" : value);
  }
  for (const child of children.flat(2)) {
    if (child !== null && child !== undefined) element.append(child);
  }
  return element;
}

/** A class; a name that several have has its index behind it. */
const nameOf = (score) =>
  score.other === undefined ? data.classes[score.index] : `similarity to ${score.other.split("/").pop()}`;
const withIndex = (score) =>
  score.name === null || score.other !== undefined ? nameOf(score) : `${score.name} (${score.index})`;
const percent = (part) => {
  if (part > 0.9995 && part < 1) return "> 99.9%";
  return `${(100 * part).toFixed(1)}%`;
};
const number = (value) => {
  if (typeof value !== "number") return typeof value === "string" ? value : JSON.stringify(value);
  return Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(4)));
};
/** What the network says of a class: its probability or, of a network that gives numbers, that; or
 * the cosine to another image. */
const said = (score) => {
  if (score.other !== undefined) return score.cosine.toFixed(2);
  return score.probability === null ? number(score.logit) : percent(score.probability);
};
const plural = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;
const titles = Object.fromEntries(data.maps.map((map) => [map.key, map.title]));
/** Of a map by its key, which names the layer where there are several: gradcam@features.28. */
const titleOf = (key) => {
  const [map, layer] = key.split("@");
  return (titles[map] ?? map.replaceAll("_", " ")) + (layer === undefined ? "" : ` at ${layer}`);
};
const broadness = (image) => image.naturalWidth / image.naturalHeight;
