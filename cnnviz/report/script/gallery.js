// What is shown, in which order: the state, which the address holds, filters and sorting.

const INITIAL = {
  predicted: "", truth: "", show: "", q: "", sort: "run", down: "",
  map: data.maps[0]?.key ?? "", mix: "100", open: "",
};
const state = { ...INITIAL };

function readAddress() {
  let found;
  try {
    found = new URLSearchParams(location.hash.slice(1));
  } catch {
    found = new URLSearchParams();
  }
  Object.assign(state, INITIAL);
  for (const key of Object.keys(INITIAL)) {
    if (found.has(key)) state[key] = found.get(key);
  }
  const options = (id) => [...byId(id).options].map((option) => option.value);
  for (const key of ["predicted", "truth", "sort", "map"]) {
    if (!options(key).includes(state[key])) state[key] = INITIAL[key];
  }
  if (!/^\d{1,3}$/.test(state.mix) || Number(state.mix) > 100) state.mix = INITIAL.mix;
  if (!/^\d+$/.test(state.open) || !images[state.open]) state.open = "";
  const kinds = new Set(state.show.split(","));
  state.show = KINDS.map(([kind]) => kind).filter((kind) => kinds.has(kind)).join(",");
}

let writing = 0;

/** Soon, for browsers refuse an address that changes a hundred times while a slider is moved. */
function writeAddress() {
  clearTimeout(writing);
  writing = setTimeout(() => {
    const kept = Object.entries(state).filter(([key, value]) => value !== INITIAL[key]);
    const hash = new URLSearchParams(kept).toString();
    history.replaceState(null, "", hash ? `#${hash}` : location.pathname + location.search);
  }, 300);
}

let order = [];

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

function sorted(found) {
  const { value, first } = SORTS[state.sort];
  const down = (first === "up") === (state.down === "1");
  const known = (image) => typeof value(image) === "number";
  const sign = down ? -1 : 1;
  return [
    ...found.filter(known).sort((a, b) => sign * (value(a) - value(b)) || a.place - b.place),
    ...found.filter((image) => !known(image)),
  ];
}

const AT_ONCE = 60;
const A_SLICE = 250;
let filling = 0;

/** Fill the gallery: what is seen first at once, the rest when the browser has had its turn. */
function fill() {
  const gallery = byId("gallery");
  clearTimeout(filling);
  clearTimeout(drawing);
  gallery.replaceChildren(...order.slice(0, AT_ONCE).map(cardOf));
  let done = AT_ONCE;
  const more = () => {
    gallery.append(...order.slice(done, done + A_SLICE).map(cardOf));
    done += A_SLICE;
    if (done < order.length) filling = setTimeout(more);
  };
  if (done < order.length) filling = setTimeout(more);
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
  order.filter(inSight).forEach(draw);
  for (const image of worth.keys()) draw(image);
  let done = 0;
  const more = () => {
    order.slice(done, done + A_SLICE).forEach(draw);
    done += A_SLICE;
    if (done < order.length) drawing = setTimeout(more);
  };
  drawing = setTimeout(more);
}

/** The pair of classes that is filtered for, in words. */
function chosenPair() {
  if (multiLabel || !state.predicted || !state.truth || state.truth === "none") return "";
  const truth = data.classes[state.truth];
  return state.truth === state.predicted
    ? `: ${truth} (correct)`
    : `: ${truth} predicted as ${data.classes[state.predicted]}`;
}

function update() {
  const inside = images.filter(fits);
  const kinds = state.show ? state.show.split(",") : [];
  for (const button of byId("chips").children) {
    const kind = button.dataset.kind;
    const count = inside.filter((image) => image.kinds.has(kind)).length;
    button.setAttribute("aria-pressed", kinds.includes(kind));
    button.textContent = `${KINDS.find(([one]) => one === kind)[1]} ${count}`;
  }
  const found = kinds.length
    ? inside.filter((image) => kinds.some((kind) => image.kinds.has(kind)))
    : inside;
  order = sorted(found);
  fill();
  if (byId("images").getBoundingClientRect().top < 0) byId("images").scrollIntoView();
  const counted = order.length === images.length
    ? `All ${plural(images.length, "image")}`
    : `${order.length} of ${plural(images.length, "image")}`;
  byId("count").textContent = `${counted}${chosenPair()}`;
  byId("clear").hidden = !(state.predicted || state.truth || state.show || state.q);
  byId("nothing").hidden = order.length > 0;
  byId("copied").textContent = "";
  for (const key of ["download", "copy"]) byId(key).disabled = !order.length;
  for (const key of ["predicted", "truth", "sort", "map"]) byId(key).value = state[key];
  if (byId("query").value !== state.q) byId("query").value = state.q;
  const up = (SORTS[state.sort].first === "up") !== (state.down === "1");
  const way = state.sort === "run"
    ? (up ? "first to last" : "last to first")
    : (up ? "lowest first" : "highest first");
  byId("direction").textContent = up ? "↑" : "↓";
  byId("direction").title = way;
  byId("direction").setAttribute("aria-label", `Order: ${way}`);
  for (const button of document.querySelectorAll("button[data-truth]")) {
    button.setAttribute(
      "aria-pressed",
      button.dataset.truth === state.truth && button.dataset.predicted === state.predicted,
    );
  }
  mixed();
  writeAddress();
}

function mixed() {
  const part = Number(state.mix) / 100;
  for (const place of [byId("gallery"), byId("worth"), byId("large")].filter((one) => one)) {
    place.style.setProperty("--mix", part);
    place.style.setProperty("--flip", part >= 0.5 ? 0 : 1);
  }
  for (const slider of document.querySelectorAll("input[type=range]")) slider.value = state.mix;
}

function set(changes) {
  Object.assign(state, changes);
  update();
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

function goTo(id) {
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  byId(id).scrollIntoView({ behavior: calm ? "auto" : "smooth" });
  byId(id).focus({ preventScroll: true });
}

function fillTools() {
  const counted = (of) => {
    const counts = new Map();
    for (const image of images) {
      for (const key of of(image)) counts.set(key, (counts.get(key) ?? 0) + 1);
    }
    return counts;
  };
  const choices = (id, counts, all) => {
    const name = (key) => ({ none: "unknown", empty: "no class" })[key] ?? data.classes[key];
    const keys = [...counts.keys()].sort((a, b) => (a === "none") - (b === "none") || name(a).localeCompare(name(b)));
    byId(id).append(
      h("option", { value: "" }, all),
      ...keys.map((key) => h("option", { value: key }, `${name(key)} (${counts.get(key)})`)),
    );
  };
  choices("predicted", counted((image) => predictionsOf(image)), "all predictions");
  choices("truth", counted((image) => (image.status === "ok" ? truthsOf(image) : [])), "all true classes");
  byId("truth-label").hidden = !truthKnown;
  byId("sort").append(...Object.entries(SORTS).map(([key, { title }]) => h("option", { value: key }, title)));
  byId("map").append(...data.maps.map(({ key, title }) => h("option", { value: key }, title)));
  byId("map-label").hidden = data.maps.length < 2;
  byId("chips").append(
    ...KINDS.filter(([kind]) => images.some((image) => image.kinds.has(kind))).map(([kind]) =>
      h("button", { type: "button", "data-kind": kind })),
  );
}
