// Images as cards: A's map and B's side by side. What lies near the screen is drawn, nothing else.

/** Pixels of a heatmap in a card, a side. */
const IN_CARD = 96;
const cards = new Array(images.length);
/** The images whose cards are near the screen. */
const near = new Set();
const watching = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    const image = images[target.firstChild.dataset.place];
    if (isIntersecting) {
      near.add(image);
      draw(image);
    } else {
      near.delete(image);
      release(target);
    }
  }
}, { rootMargin: "500px" });

function cardOf(image) {
  if (!cards[image.place]) {
    cards[image.place] = newCard(image);
    watching.observe(cards[image.place]);
  }
  return cards[image.place];
}

const letter = (side) => h("span", { class: `side-${"ab"[side]}` }, "AB"[side]);

/** The predicted class, or classes, with how sure the network is. */
function predictedLine(one) {
  if (!one.several) return [nameOf(one.prediction), said(one.prediction)];
  return [one.several.map((score) => `${nameOf(score)} ${said(score)}`).join(", ") || "no class", ""];
}

function newCard(image) {
  const button = h("button", { type: "button", "data-place": image.place });
  const frames = image.sides.map((_, side) =>
    h("span", { class: "frame" }, h("span", { class: "lay" }), letter(side)));
  for (const frame of frames) frame.firstChild.style.setProperty("--ratio", image.ratio);
  button.append(
    h("span", { class: "two" }, frames),
    h("span", { class: "line path", title: image.path }, image.relative),
  );
  for (const [side, one] of image.sides.entries()) {
    const row = line("prediction", ...predictedLine(one));
    row.prepend(letter(side));
    if (typeof one.correct === "boolean") row.append(h("span", { class: one.correct ? "right" : "wrong" }, one.correct ? " ✓" : " ✗", h("span", { class: "sr" }, one.correct ? "correct" : "incorrect")));
    button.append(row);
  }
  if (truthKnown) button.append(line("truth", image.truth === undefined ? "true class unknown" : `true: ${image.truth}`, ""));
  button.append(h("span", { class: "line quiet" }, agreementLine(image)));
  button.append(h("span", { class: "badges" }, badges(image)));
  return h("li", { class: "card" }, button);
}

const minus = (text) => text.replace("-", "−");

function agreementLine(image) {
  if (!image.agreement) return image.why ?? "";
  const { common, spearman } = image.agreement;
  return `${percent(common)} in common${typeof spearman === "number" ? `, correlation ${minus(spearman.toFixed(2))}` : ""}`;
}

/** Put the chosen maps into the card of an image. */
function draw(image) {
  const card = cards[image.place];
  const now = `${state.map} ${state.scale}`;
  if (card.dataset.drawn === now) return;
  release(card);
  card.dataset.drawn = now;
  for (const [side, lay] of card.querySelectorAll(".lay").entries()) {
    // What is there stays, so that nothing flickers when a card comes back.
    const below = lay.querySelector("img:not(.over)") ?? (image.original && img(image.original, ""));
    const over = overOf(image, side, IN_CARD);
    lay.replaceChildren(...[below, over].filter((one) => one));
    if (!over) lay.append(h("span", { class: "note" }, noMap(image, side)));
  }
}

/** What is drawn over the original for a side: a heatmap, or a map that the run wrote, in small or
 * in full. */
function overOf(image, side, pixels, element = img) {
  const { heat, files: maps } = image.sides[side];
  if (state.map === "heat") return heat ? heatmap(image, side, pixels) : null;
  const url = maps[state.map];
  if (!url) return null;
  return element(url, `${titles[state.map]} of ${"AB"[side]}`, { class: "over" });
}

/** Take the canvases out of a card that is far from the screen, for another one. */
function release(card) {
  delete card.dataset.drawn;
  for (const canvas of card.querySelectorAll("canvas")) {
    canvas.remove();
    spare.push(canvas);
  }
}

function redraw() {
  heatOnly();
  for (const image of near) draw(image);
}
