// Images as cards of the gallery.

/** Make a record ready, of the image at a place of the run. */
function prepare(image, place) {
  image.place = place;
  image.kinds = new Set();
  if (image.status !== "ok") {
    image.kinds.add("failed");
    return;
  }
  image.prediction = image.top5[0];
  // The explanation of the prediction, if that was asked for; else the first.
  // Nothing where no class is above the probability that was asked for.
  image.main =
    image.explanations.find((one) => one.target.index === image.prediction.index) ??
    image.explanations[0];
  if (typeof image.correct === "boolean") image.kinds.add(image.correct ? "correct" : "incorrect");
  else if (truthKnown) image.kinds.add("unknown");
  if (image.explanations.some((one) => one.blank.length)) image.kinds.add("blank");
}

const SORTS = {
  run: { title: "run order", value: (image) => image.place, first: "up", ways: ["first to last", "last to first"] },
  confidence: { title: "confidence", value: VALUES.confidence },
  margin: { title: "margin to the second class", value: VALUES.margin },
  loss: { title: "loss", value: VALUES.loss },
};
if (!lossKnown) delete SORTS.loss;
if (!marginKnown) delete SORTS.margin;

const thumbnailOf = (url) => `thumbnails/${url.replace(/\.(png|webp)$/, ".jpg")}`;

const cards = new Array(images.length);
/** The cards above the gallery, each with the reason why it is there. */
const worth = new Map();

function cardOf(image) {
  if (!cards[image.place]) cards[image.place] = newCard(image);
  draw(image);
  return cards[image.place];
}

function fillWorth() {
  for (const { place, why } of data.worth) {
    const card = newCard(images[place]);
    card.prepend(h("span", { class: "why" }, why));
    worth.set(images[place], card);
    byId("worth").append(card);
    draw(images[place]);
  }
}

function newCard(image) {
  const frame = h("span", { class: "frame" });
  const button = h("button", { type: "button", "data-place": image.place }, frame);
  button.append(h("span", { class: "line path", title: image.path }, image.relative ?? image.path));
  if (image.status === "ok") {
    const several = image.predicted_classes ?? [];
    button.append(
      several.length > 1
        ? line("prediction", several.map((one) => `${nameOf(one)} ${said(one)}`).join(", "), "")
        : line("prediction", nameOf(image.prediction), said(image.prediction)),
    );
    if (image.true_classes && image.correct === false) {
      button.append(line("truth", `true: ${image.true_classes.map(nameOf).join(", ") || "none"}`, ""));
    }
    if (image.ground_truth && !image.kinds.has("correct")) {
      button.append(line("truth", `true: ${nameOf(image.ground_truth)}`, said(image.ground_truth)));
    }
    if (!image.main) {
      frame.append(h("span", { class: "note" }, image.remark));
    } else if (image.main.target.index !== image.prediction.index) {
      button.append(h("span", { class: "line quiet" }, `explained: ${nameOf(image.main.target)}`));
    }
  } else {
    frame.append(h("span", { class: "note" }, image.error));
  }
  button.append(h("span", { class: "badges" }, badges(image)));
  return h("li", { class: "card" }, button);
}

/** Put the chosen map into the cards of an image that are there. */
function draw(image) {
  for (const card of [cards[image.place], worth.get(image)]) drawInto(card, image);
}

function drawInto(card, image) {
  if (!card || !image.main || card.dataset.map === state.map) return;
  card.dataset.map = state.map;
  const { original } = image.main.files;
  const url = image.main.files[state.map];
  const title = titles[state.map] ?? "";
  const frame = card.querySelector(".frame");
  const blank = image.main.blank.includes(state.map);
  const below = original && img(original, "");
  const over = url && img(url, blank ? `${title}, blank` : title, { class: original ? "over" : "" });
  frame.classList.remove("apart");
  frame.replaceChildren(
    ...[below, over].filter((one) => one),
    ...(url || original ? [] : [h("span", { class: "note" }, "The run wrote no such map.")]),
  );
  if (!below || !over) return;
  for (const one of [below, over]) {
    one.addEventListener("load", () => {
      // Several layers side by side, or a legend below: no point lies on the original's.
      frame.classList.toggle("apart", Math.abs(broadness(over) / broadness(below) - 1) > 0.02);
    });
  }
}

let drawing = 0;

/** Another map into the cards that are there, those in sight first, and all where they are. */
function redraw() {
  const sight = innerHeight + 200;
  const inSight = (image) => {
    const place = cards[image.place]?.getBoundingClientRect();
    return place && place.bottom > -200 && place.top < sight;
  };
  clearTimeout(drawing);
  const list = withCards();
  list.filter(inSight).forEach(draw);
  for (const image of worth.keys()) draw(image);
  let done = 0;
  const more = () => {
    list.slice(done, done + A_SLICE).forEach(draw);
    done += A_SLICE;
    if (done < list.length) drawing = setTimeout(more);
  };
  drawing = setTimeout(more);
}
