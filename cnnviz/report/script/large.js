// One image, large, with all its maps and numbers.

const dialog = byId("large");
let shown = null;
/** The list that it was opened from. */
let openedFrom = null;

/** The name of a file by its URL; of one that is not UTF-8 the URL's end. */
function nameOfFile(url) {
  const end = url.split("/").pop();
  try {
    return decodeURIComponent(end);
  } catch {
    return end;
  }
}

function figure(url, caption, { under = null, alt = "", box = null } = {}) {
  const stack = h("span", { class: "stack" });
  const source = files[url] ?? files[thumbnailOf(url)] ?? url;
  const top = h("img", { src: source, alt });
  const gone = (element) => element.addEventListener("error", () =>
    element.replaceWith(h("span", { class: "note" }, "The file is missing.")));
  gone(top);
  const widen = (element) => element.naturalWidth < 300 && element.classList.add("small");
  if (under && under !== url) {
    const below = h("img", { src: files[under] ?? files[thumbnailOf(under)] ?? under, alt: "" });
    const settle = () => {
      if (!below.naturalWidth || !top.naturalWidth) return;
      const broader = broadness(top) / broadness(below);
      if (Math.abs(broader - 1) > 0.02) {
        below.remove(); // as in the cards
        top.classList.remove("over");
        if (broader > 1.5) stack.closest("figure").classList.add("broad");
      }
      for (const one of [below, top]) widen(one);
    };
    for (const one of [below, top]) one.addEventListener("load", settle);
    below.addEventListener("error", () => { below.remove(); top.classList.remove("over"); });
    top.className = "over";
    stack.append(below, top);
  } else {
    top.addEventListener("load", () => widen(top));
    stack.append(top);
  }
  if (box) stack.append(box);
  const link = source === url
    ? { href: url, target: "_blank", rel: "noopener", title: "Open the file" }
    // No browser opens a data URL by itself.
    : { href: source, download: nameOfFile(url), title: "Save the file" };
  return h("figure", {}, h("a", link, stack), h("figcaption", {}, caption));
}

function boxOf(image, explanation) {
  if (!explanation.location || !image.size) return null;
  const [height, width] = image.size;
  const [x0, y0, x1, y1] = explanation.location.box;
  const element = h("span", { class: "box", title: "Around the heatmap's peak, down to half its height" });
  Object.assign(element.style, {
    left: `${(100 * x0) / width}%`, top: `${(100 * y0) / height}%`,
    width: `${(100 * (x1 - x0)) / width}%`, height: `${(100 * (y1 - y0)) / height}%`,
  });
  return element;
}

function rows(entries) {
  const table = h("table", {});
  for (const [key, value] of entries) {
    if (value !== null && value !== undefined) table.append(h("tr", {}, h("th", { scope: "row" }, key), h("td", {}, value)));
  }
  return table;
}

/** Whether a class is the image's true one, or one of several. */
const isTrue = (image, score) =>
  [image.ground_truth, ...(image.true_classes ?? [])].some((one) => one && one.index === score.index);

function figures(image) {
  const parts = [];
  for (const [place, one] of image.explanations.entries()) {
    const role = one.target.index === image.prediction.index
      ? "the prediction"
      : isTrue(image, one.target) ? (image.ground_truth ? "the true class" : "a true class") : "";
    parts.push(h("h3", {}, `Explained: ${withIndex(one.target)}, ${said(one.target)}${role ? `, ${role}` : ""}`));
    const list = h("div", { class: "figures" });
    const { original } = one.files;
    if (original && place === 0) {
      list.append(figure(original, one.location ? "Original; the box surrounds the heatmap's peak" : "Original",
        { alt: "Original", box: boxOf(image, one) }));
    }
    for (const [key, url] of Object.entries(one.files)) {
      if (key === "original" || !/\.(png|jpg|webp)$/.test(url)) continue;
      const title = titleOf(key);
      const blank = one.blank.includes(key);
      list.append(figure(url, blank ? `${title}: blank, nothing to show` : title, { under: original, alt: title }));
    }
    parts.push(list);
  }
  if (image.status === "ok" && !image.explanations.length) parts.push(h("p", { class: "note" }, image.remark));
  for (const one of image.contrasts ?? []) {
    parts.push(h("h3", {}, `Why ${withIndex(one.positive)} rather than ${withIndex(one.negative)}`),
      h("div", { class: "figures wide" }, figure(one.file, `Red: evidence for ${nameOf(one.positive)}; blue: evidence for ${nameOf(one.negative)}`, { alt: "Contrast" })));
  }
  if (image.panel) {
    parts.push(h("h3", {}, "Panel"), h("div", { class: "figures wide" }, figure(image.panel, "", { alt: "Panel" })));
  }
  return parts;
}

function numbers(image) {
  const parts = [];
  if (image.status === "ok") {
    const bars = image.top5.map((score) => {
      const fill = h("i");
      fill.style.width = `${100 * (score.probability ?? 0)}%`;
      const truth = isTrue(image, score) ? " ← true class" : "";
      return h("li", {}, h("span", { class: "label" }, h("span", {}, withIndex(score) + truth),
        h("span", {}, said(score))), h("span", { class: "meter", "aria-hidden": "true" }, fill));
    });
    parts.push(h("section", {}, h("h3", {}, "Top 5"), h("ol", { class: "top5" }, bars), rows([
      ["true classes", image.true_classes && (image.true_classes.map((one) => `${withIndex(one)}, ${said(one)}`).join("; ") || "none")],
      ["true class", image.ground_truth && `${withIndex(image.ground_truth)}, ${said(image.ground_truth)}`],
      ["loss", typeof image.loss === "number" ? number(image.loss) : null],
      ["margin", typeof image.margin === "number" ? number(image.margin) : null],
    ])));
    for (const one of image.explanations) {
      const entries = one.target.other === undefined
        ? [["logit", number(one.target.logit)]]
        : [["cosine", number(one.target.cosine)]];
      for (const [key, range] of Object.entries(one.ranges)) {
        entries.push([titleOf(key), `${range.map(number).join(" to ")}${one.blank.includes(key) ? ", blank" : ""}`]);
      }
      if (one.location) {
        const { border, corners, box } = one.location;
        entries.push(["at the border", `${percent(border)} of the heatmap (36% if even)`]);
        entries.push(["in corners", `${corners.map(percent).join(", ")} (4% each if even)`]);
        entries.push(["box around the peak", `x ${box[0]} to ${box[2]}, y ${box[1]} to ${box[3]}`]);
      }
      for (const [key, found] of Object.entries(one.diagnostics)) {
        for (const [fact, value] of Object.entries(found)) {
          entries.push([`${titleOf(key)}: ${fact.replaceAll("_", " ")}`, number(value)]);
        }
      }
      parts.push(h("section", {}, h("h3", {}, `Details: ${nameOf(one.target)}`), rows(entries)));
    }
  }
  parts.push(h("section", {}, h("h3", {}, "File"), rows([
    ["path", image.path],
    ["size", image.size && `${image.size[1]} × ${image.size[0]} pixels`],
    ["SHA\u2011256", image.sha256 && h("code", {}, image.sha256)],
    ["time", typeof image.seconds === "number" ? `${number(image.seconds)} s` : null],
  ])));
  return parts;
}

function show(image, from) {
  shown = image;
  if (from) openedFrom = from;
  const place = order.indexOf(image);
  byId("large-title").replaceChildren(image.relative ?? image.path, " ", ...badges(image));
  byId("large-place").textContent = place < 0 ? "" : `${place + 1} of ${order.length}`;
  byId("previous").disabled = place <= 0;
  byId("next").disabled = place < 0 || place >= order.length - 1;
  const body = byId("large-body");
  const inside = body.contains(document.activeElement);
  if (image.status === "ok") {
    const slider = h("input", { type: "range", min: 0, max: 100, step: 5, "aria-label": "Opacity of the maps over the original, in percent" });
    slider.addEventListener("input", () => { state.mix = slider.value; mixed(); writeAddress(); });
    body.replaceChildren(
      h("div", { class: "shown" }, h("div", { class: "mixing" }, "original", slider, "maps"), ...figures(image)),
      h("aside", {}, ...numbers(image)),
    );
  } else {
    body.replaceChildren(
      h("p", { class: "failure" }, h("strong", {}, "Failed: "), image.error),
      h("aside", {}, ...numbers(image)),
    );
  }
  body.scrollTop = 0;
  mixed();
  if (!dialog.open) {
    dialog.showModal();
    byId("large-title").focus();
  } else if (inside || document.activeElement === document.body || document.activeElement?.disabled) {
    byId("large-title").focus();
  }
  state.open = String(image.place);
  writeAddress();
}

function step(by) {
  const next = order[order.indexOf(shown) + by];
  if (shown && next) show(next);
}

dialog.addEventListener("close", () => {
  const last = shown;
  shown = null;
  state.open = "";
  writeAddress();
  byId("large-body").replaceChildren();
  const card = last && ((openedFrom?.id === "worth" && worth.get(last)) || cards[last.place]);
  openedFrom = null;
  if (card?.isConnected) {
    card.scrollIntoView({ block: "nearest" });
    card.querySelector("button").focus();
  } else byId("images-title").focus();
});
dialog.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select")) return;
  if (event.key === "ArrowLeft") step(-1);
  else if (event.key === "ArrowRight") step(1);
  else return;
  event.preventDefault();
});
dialog.addEventListener("click", (event) => {
  if (event.target === dialog) dialog.close(); // the ground around it
});
byId("previous").addEventListener("click", () => step(-1));
byId("next").addEventListener("click", () => step(1));
byId("close").addEventListener("click", () => dialog.close());
