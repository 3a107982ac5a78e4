// One image, large: a slider between A's map and B's, and what both say of it.

/** Pixels of a heatmap in the large view, a side. */
const IN_LARGE = 384;
/** How much of the width, from the left, shows A; and whether it is all or nothing of it. */
let wiped = 50;
let seen = "both";

/** What a side's layer is clipped to. */
function wipe(to = seen) {
  seen = to;
  const at = { a: 100, b: 0 }[seen] ?? wiped;
  const stage = byId("stage");
  stage.style.setProperty("--wipe", `${at}%`);
  stage.classList.toggle("one", seen !== "both");
  stage.dataset.seen = seen;
  byId("wipe").value = wiped;
  byId("wipe").setAttribute("aria-valuetext", `A on the left ${wiped}% of the image, B on the rest`);
  for (const button of byId("large-body").querySelectorAll("button[data-seen]")) {
    button.setAttribute("aria-pressed", button.dataset.seen === seen);
  }
}

/** A instead of B, or B instead of A: what changes jumps to the eye. */
const blink = () => wipe(seen === "a" ? "b" : "a");

function wipeTo(part) {
  wiped = Math.round(100 * Math.min(1, Math.max(0, part)));
  wipe("both");
}

function stageOf() {
  const stage = h("div", { id: "stage", class: "lay", role: "group", "aria-label": "A left of the handle, B right of it" });
  const drag = (event) => {
    const { left, width } = stage.getBoundingClientRect();
    wipeTo((event.clientX - left) / width);
  };
  stage.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    event.preventDefault(); // nothing is selected or dragged away
    stage.setPointerCapture(event.pointerId);
    drag(event);
  });
  stage.addEventListener("pointermove", (event) => {
    if (stage.hasPointerCapture(event.pointerId)) drag(event);
  });
  return stage;
}

/** The maps that are chosen, into the stage and below it. */
function fillStage(image) {
  const layers = image.sides.map((_, side) => h("span", { class: `layer layer-${"ab"[side]}` },
    overOf(image, side, IN_LARGE, whole) ?? h("span", { class: "note" }, noMap(image, side))));
  const original = image.original && whole(image.original, "");
  byId("stage").replaceChildren(...[original, ...layers].filter((one) => one),
    h("span", { class: "divider", "aria-hidden": "true" }),
    ...image.sides.map((_, side) => letter(side)));
  const scaled = state.map === "heat" && image.sides.every(({ heat }) => heat);
  byId("scale-note").replaceChildren(...(scaled ? scaleNote(image) : []));
  heatOnly();
}

/** An image in full; its thumbnail where a page holds no more. */
function whole(url, alt, more) {
  const element = h("img", { alt, draggable: "false", ...more, src: files[url] ?? files[thumbnailOf(url)] ?? url });
  element.addEventListener("error", () => element.replaceWith(h("span", { class: "note" }, "The file is missing.")));
  return element;
}

function scaleNote(image) {
  const strip = h("canvas", { class: "scale", role: "img", "aria-label": "The scale: none on the left, most on the right" });
  paintScale(strip);
  const peaks = image.sides.map(({ heat }) => heat.peak);
  const text = state.scale === "own"
    ? `Each map up to its own maximum: ${peaks.map((peak, side) => `${"AB"[side]} ${times(peak)}`).join(", ")} as much evidence as if it lay evenly over the image.`
    : `One scale for both, from none to ${times(Math.max(...peaks))} as much evidence as if it lay evenly over the image (A's maximum is ${times(peaks[0])}, B's ${times(peaks[1])}).`;
  const part = image.sides.some(({ heat }) => heat.box[2] < 1 || heat.box[3] < 1)
    ? " Dashed lines surround what a network saw of the image, where that is a part."
    : "";
  return [strip, h("span", {}, text + part)];
}

const times = (factor) => `${factor >= 9.95 ? Math.round(factor) : factor.toFixed(1)} times`;

/** A list of the tools again, since those lie behind the large view. */
function again(id, label) {
  const list = byId(id).cloneNode(true);
  list.removeAttribute("id");
  list.value = state[id];
  list.addEventListener("change", () => {
    state[id] = list.value;
    byId(id).value = list.value;
    redraw();
    writeAddress();
    fillStage(shown);
    wipe();
  });
  return h("label", { id: `large-${id}` }, `${label} `, list);
}

function wiping() {
  const button = (key, title) => {
    const element = h("button", { type: "button", "data-seen": key }, title);
    element.addEventListener("click", () => wipe(key));
    return element;
  };
  const blinking = h("button", { type: "button", title: "A instead of B, and B instead of A" }, "Blink (space bar)");
  blinking.addEventListener("click", blink);
  return h("div", { class: "wiping" },
    h("span", { class: "switch", role: "group", "aria-label": "What is shown" },
      button("both", "slider"), button("a", "A"), button("b", "B")),
    blinking,
    data.maps.length > 1 ? again("map", "Map") : null,
    again("scale", "Scale"));
}

function wipeSlider() {
  const slider = h("input", { id: "wipe", type: "range", min: 0, max: 100, step: 1, "aria-label": "Where A ends and B begins, in percent of the width" });
  slider.addEventListener("input", () => wipeTo(Number(slider.value) / 100));
  slider.addEventListener("keydown", (event) => {
    if (event.key !== " ") return;
    event.preventDefault();
    blink();
  });
  return slider;
}

function largeBody(image) {
  const place = h("div", { class: "stage-of" }, stageOf(), wipeSlider());
  place.style.setProperty("--ratio", image.ratio);
  const parts = h("div", { class: "shown" }, wiping(), place,
    h("p", { class: "scale-note", id: "scale-note" }), mixing(), ...otherMaps(image));
  return [parts, h("aside", {}, ...numbers(image))];
}

/** The images of both, side by side: those that both runs wrote. */
function otherMaps(image) {
  const parts = [];
  for (const { key, title } of data.maps.slice(1)) {
    const urls = image.sides.map((one) => one.files[key]);
    if (!urls.some((url) => url)) continue;
    parts.push(h("h3", {}, title), h("div", { class: "figures" }, urls.map((url, side) => (url
      ? figure(url, `${"AB"[side]}, as its run drew it`, { alt: `${title} of ${"AB"[side]}` })
      : h("p", { class: "quiet" }, `${"AB"[side]} wrote none`)))));
  }
  return parts;
}

function both(entries, name) {
  const table = h("table", { class: "both", "aria-label": name },
    h("tr", {}, h("td", {}), h("th", { scope: "col" }, letter(0)), h("th", { scope: "col" }, letter(1))));
  for (const [title, of] of entries) {
    const values = shown.sides.map(of);
    if (values.every((value) => value === null || value === undefined)) continue;
    table.append(h("tr", {}, h("th", { scope: "row" }, title), values.map((value) => h("td", {}, value ?? "–"))));
  }
  return table;
}

function numbers(image) {
  const found = image.agreement;
  const corner = (place) => (one) => (one.corners ? percent(one.corners[place]) : null);
  const parts = [
    h("section", {}, h("h3", {}, "What they say"),
      image.sides.map((_, side) => h("p", { class: "who" }, letter(side), ` ${data.names[side]}`)),
      h("p", {}, image.truth === undefined ? "The true class is unknown." : `True class: ${image.truth}.`),
      both([
        ["prediction", (one) => predictedLine(one).join(" ")],
        ["true class", (one) => one.truth && said(one.truth)],
        ["loss", (one) => (typeof one.loss === "number" ? number(one.loss) : null)],
        ["explained", (one) => one.target && nameOf(one.target)],
      ], "What they say")),
    h("section", {}, h("h3", {}, "Where they look"),
      found ? rows([
        ["in common", `${percent(found.common)} of the strongest fifth (20% by chance)`],
        ["rank correlation", typeof found.spearman === "number" ? minus(found.spearman.toFixed(3)) : "none: a map is even"],
        ["peaks apart", `${percent(found.peak_distance)} of the diagonal`],
        ["explained", found.same_target ? "the same class" : "different classes"],
      ], "How alike the maps are") : h("p", {}, image.why ?? ""),
      both([
        ["at the border", (one) => (typeof one.border === "number" ? percent(one.border) : null)],
        ...["top left", "top right", "bottom left", "bottom right"].map((name, place) => [name, corner(place)]),
      ], "Shares of the heatmaps"),
      h("p", { class: "quiet" }, "Shares of the heatmap; an even one has 36% at the border and 4% in each corner.")),
    h("section", {}, h("h3", {}, "File"), rows([
      ["path", image.path],
      ["path in B", image.path_b],
      ["size", image.size && `${image.size[1]} × ${image.size[0]} pixels`],
      ["SHA\u2011256", image.sha256 && h("code", {}, image.sha256)],
    ], "File")),
  ];
  return parts;
}

const cardIn = (list, image) => cards[image.place];

function pressedInLarge(event) {
  if (event.key !== " " || event.target.closest("button, a")) return false;
  blink();
  return true;
}

/** After the large view is filled. */
function opened(image) {
  fillStage(image);
  wipe();
}
