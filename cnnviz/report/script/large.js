// One image, large. The page says what is in it (`largeBody`), and which keys it has besides.

const dialog = byId("large");
let shown = null;
/** The list that it was opened from. */
let openedFrom = null;

/** The slider between the original and the maps. */
function mixing() {
  const slider = h("input", { type: "range", min: 0, max: 100, step: 5, "aria-label": "Opacity of the maps over the original, in percent" });
  slider.addEventListener("input", () => { state.mix = slider.value; mixed(); writeAddress(); });
  return h("div", { class: "mixing" }, "original", slider, "maps");
}

function show(image, from) {
  if (later(image, () => show(image, from))) return;
  shown = image;
  if (from) openedFrom = from;
  const place = order.indexOf(image);
  byId("large-title").replaceChildren(image.relative ?? image.path, " ", ...badges(image));
  byId("large-place").textContent = place < 0 ? "" : `${place + 1} of ${order.length}`;
  byId("previous").disabled = place <= 0;
  byId("next").disabled = place < 0 || place >= order.length - 1;
  const body = byId("large-body");
  const inside = body.contains(document.activeElement);
  body.replaceChildren(...largeBody(image));
  body.scrollTop = 0;
  opened(image);
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
  const card = last && cardIn(openedFrom, last);
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
  else if (!pressedInLarge(event)) return;
  event.preventDefault();
});
dialog.addEventListener("click", (event) => {
  if (event.target === dialog) dialog.close(); // the ground around it
});
byId("previous").addEventListener("click", () => step(-1));
byId("next").addEventListener("click", () => step(1));
byId("close").addEventListener("click", () => dialog.close());
