// One image of a run, large: all its maps and numbers.

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

function largeBody(image) {
  const shown = image.status === "ok"
    ? h("div", { class: "shown" }, mixing(), ...figures(image))
    : h("p", { class: "failure" }, h("strong", {}, "Failed: "), image.error);
  return [shown, h("aside", {}, ...numbers(image))];
}

/** The card of an image in the list that it was opened from. */
const cardIn = (list, image) => (list?.id === "worth" && worth.get(image)) || cardFor(image);
const pressedInLarge = () => false;
const opened = () => {};
