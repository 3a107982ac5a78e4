// What is shown, in which order: the state, which the address holds, filters and sorting.

// Each page has parts that come before this one: what it can be in (`INITIAL`), its lists to choose
// from (`SELECTS`) and which of these are filters (`FILTERS`); `KINDS` and `SORTS`; functions that
// say whether an image fits, that make its card, and what follows the number of images. Where the
// images' records come from (whole.js, or parts.js of a page that loads them) it does not know.

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
  for (const key of SELECTS) {
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
/** Cards that are dealt with before the browser has its turn. */
const A_SLICE = 250;

function sorted(found) {
  const { value, first } = SORTS[state.sort];
  const down = (first === "up") === (state.down === "1");
  if (state.sort === "run") return down ? [...found].reverse() : found; // images stand in that order
  const known = (image) => typeof value(image) === "number";
  const sign = down ? -1 : 1;
  return [
    ...found.filter(known).sort((a, b) => sign * (value(a) - value(b)) || a.place - b.place),
    ...found.filter((image) => !known(image)),
  ];
}

/** Which kinds exclude one another, by the name of their group. */
const groupOf = ([, , group]) => group ?? "";

function update() {
  if (!prepared(update)) return;
  const inside = images.filter(fits);
  const chosen = KINDS.filter(([kind]) => state.show.split(",").includes(kind));
  // Of the chosen kinds of a group any is enough; each group has to have one.
  const groups = [...new Set(chosen.map(groupOf))];
  const among = (left) => (chosen.length ? inside.filter((image) => groups.every((group) =>
    group === left || chosen.some((one) => groupOf(one) === group && image.kinds.has(one[0])))) : inside);
  for (const button of byId("chips").children) {
    const one = KINDS.find(([kind]) => kind === button.dataset.kind);
    const count = countOf(one[0], () => among(groupOf(one)));
    button.setAttribute("aria-pressed", chosen.includes(one));
    button.textContent = `${one[1]} ${count}`;
  }
  order = sorted(among());
  fill();
  if (byId("images").getBoundingClientRect().top < 0) byId("images").scrollIntoView();
  const counted = order.length === images.length
    ? `All ${plural(images.length, "image")}`
    : `${order.length} of ${plural(images.length, "image")}`;
  byId("count").textContent = `${counted}${chosenClasses()}${soFar()}`;
  byId("clear").hidden = ![...FILTERS, "show", "q"].some((key) => state[key]);
  byId("nothing").hidden = order.length > 0;
  byId("copied").textContent = "";
  for (const key of ["download", "copy"]) byId(key).disabled = !order.length;
  for (const key of SELECTS) byId(key).value = state[key];
  if (byId("query").value !== state.q) byId("query").value = state.q;
  const { first, ways } = SORTS[state.sort];
  const up = (first === "up") !== (state.down === "1");
  const way = (ways ?? ["lowest first", "highest first"])[up ? 0 : 1];
  byId("direction").textContent = up ? "↑" : "↓";
  byId("direction").title = way;
  byId("direction").setAttribute("aria-label", `Order: ${way}`);
  marked();
  mixed();
  writeAddress();
}

function mixed() {
  const part = Number(state.mix) / 100;
  for (const place of [byId("gallery"), byId("worth"), byId("large")].filter((one) => one)) {
    place.style.setProperty("--mix", part);
    place.style.setProperty("--flip", part >= 0.5 ? 0 : 1);
  }
  for (const slider of document.querySelectorAll(".mix input, .mixing input")) slider.value = state.mix;
}

function set(changes) {
  Object.assign(state, changes);
  update();
}

function goTo(id) {
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  byId(id).scrollIntoView({ behavior: calm ? "auto" : "smooth" });
  byId(id).focus({ preventScroll: true });
}

/** Fill a list to choose from: the classes of the images, with how many each has (a Map). */
function offer(id, counts, all) {
  const name = (key) => ({ none: "unknown", empty: "no class" })[key] ?? data.classes[key];
  const keys = [...counts.keys()].sort((a, b) => (a === "none") - (b === "none") || name(a).localeCompare(name(b)));
  byId(id).append(
    h("option", { value: "" }, all),
    ...keys.map((key) => h("option", { value: key }, `${name(key)} (${counts.get(key)})`)),
  );
}

function fillLists() {
  byId("sort").append(...Object.entries(SORTS).map(([key, { title }]) => h("option", { value: key }, title)));
  byId("map").append(...data.maps.map(({ key, title }) => h("option", { value: key }, title)));
  byId("map-label").hidden = data.maps.length < 2;
  byId("chips").append(
    ...KINDS.filter(([kind]) => isThere(kind)).map(([kind]) =>
      h("button", { type: "button", "data-kind": kind })),
  );
}
