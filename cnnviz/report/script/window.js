// A gallery of any length: only cards near the screen are there, and its padding stands for the rest.

/** Pixels. No browser lays out what is far higher; a longer gallery is shown in stretches. */
const TALLEST = 15e6;
/** Rows above and below the screen that are there, too. */
const SPARE = 4;
/** Milliseconds until the records of what has come into sight are asked for. */
const PATIENCE = 40;

let from = 0; // where the stretch begins in the order
let inWindow = [];
let asking = 0;
const withCards = () => inWindow;

const stretch = h("p", { class: "status", hidden: true },
  h("button", { type: "button", "data-by": -1 }, "Earlier images"), " ",
  h("button", { type: "button", "data-by": 1 }, "Later images"), " ",
  h("span", { class: "quiet" }));
byId("gallery").after(stretch);
byId("gallery").style.overflowAnchor = "none";

function newPlace(image, index) {
  const card = hasRecord(image)
    ? newCard(image)
    : h("li", { class: "card" }, h("button", { type: "button", "data-place": image.place },
      h("span", { class: "frame" }), h("span", { class: "line path" }, "…")));
  card.setAttribute("aria-posinset", index + 1);
  card.setAttribute("aria-setsize", order.length);
  cards[image.place] = card;
  draw(image);
  return card;
}

/** Put a record that has come into the card that waits for it. */
function complete(image) {
  const card = cards[image.place];
  const focused = card.contains(document.activeElement);
  card.replaceChildren(...newCard(image).childNodes);
  draw(image);
  if (focused) card.querySelector("button").focus({ preventScroll: true });
}

function ask() {
  for (const image of inWindow) {
    if (hasRecord(image)) continue;
    fetchRecord(image).then(() => (cards[image.place] ? complete(image) : letGo(image)), (error) => {
      cards[image.place]?.querySelector(".frame").replaceChildren(h("span", { class: "note" }, error.message));
    });
  }
}

function leave(image) {
  cards[image.place].remove();
  delete cards[image.place];
  if (image !== shown) letGo(image);
}

/** Columns and rows of the gallery, and pixels from one row to the next. */
function grid() {
  const gallery = byId("gallery");
  const style = getComputedStyle(gallery);
  const across = style.gridTemplateColumns.split(" ").length;
  const pitch = (gallery.firstElementChild?.offsetHeight || 296) + parseFloat(style.rowGap);
  const most = Math.floor(TALLEST / pitch) * across;
  return { across, pitch, most, rows: Math.ceil(Math.min(most, order.length - from) / across) };
}

/** Have the cards there that are near the screen, and no others. */
function settle() {
  const gallery = byId("gallery");
  const { across, pitch, most, rows } = grid();
  const above = -gallery.getBoundingClientRect().top;
  const within = (row) => Math.max(0, Math.min(rows, row));
  const first = within(Math.min(Math.floor(above / pitch) - SPARE, rows - SPARE));
  const last = within(Math.max(Math.ceil((above + innerHeight) / pitch) + SPARE, SPARE));
  const start = from + first * across;
  const wanted = order.slice(start, Math.min(from + last * across, from + most));
  const stay = new Set(wanted);
  inWindow.filter((image) => !stay.has(image)).forEach(leave);
  let before = gallery.firstElementChild;
  for (const [index, image] of wanted.entries()) {
    if (cards[image.place] && cards[image.place] === before) before = before.nextElementSibling;
    else gallery.insertBefore(newPlace(image, start + index), before);
  }
  inWindow = wanted;
  gallery.style.paddingTop = `${first * pitch}px`;
  gallery.style.paddingBottom = `${(rows - last) * pitch}px`;
  stretch.hidden = order.length <= most;
  stretch.lastChild.textContent = `Images ${from + 1} to ${Math.min(from + most, order.length)} of ${order.length}.`;
  for (const button of stretch.querySelectorAll("button")) {
    button.disabled = Number(button.dataset.by) < 0 ? from === 0 : from + most >= order.length;
  }
  clearTimeout(asking);
  asking = setTimeout(ask, PATIENCE);
}

/** Fill the gallery anew, from the start of the order. */
function fill() {
  inWindow.forEach(leave);
  inWindow = [];
  from = 0;
  settle();
  settle(); // the height of a card is known now
}

/** The card of an image in the gallery, which is brought there. */
function cardFor(image) {
  const index = order.indexOf(image);
  if (cards[image.place] || index < 0) return cards[image.place];
  const { across, pitch, most } = grid();
  from = Math.floor(index / most) * most;
  const row = Math.floor((index - from) / across);
  scrollTo(0, scrollY + byId("gallery").getBoundingClientRect().top + row * pitch - innerHeight / 2);
  settle();
  return cards[image.place];
}

stretch.addEventListener("click", (event) => {
  const by = Number(event.target.closest("button")?.dataset.by ?? 0);
  if (!by) return;
  from = Math.max(0, from + by * grid().most);
  byId("images").scrollIntoView();
  settle();
});
let settling = 0;
const soon = () => {
  cancelAnimationFrame(settling);
  settling = requestAnimationFrame(settle);
};
addEventListener("scroll", soon, { passive: true });
addEventListener("resize", soon);
