// What happens when something is clicked or typed, and how it begins.

for (const gallery of document.querySelectorAll("ol.gallery")) {
  gallery.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-place]");
    if (button) show(images[button.dataset.place], gallery);
  });
  gallery.addEventListener("keydown", (event) => {
    const card = event.target.closest(".card");
    const side = { ArrowLeft: "previousElementSibling", ArrowRight: "nextElementSibling" }[event.key];
    if (!card || !side || event.ctrlKey || event.metaKey || event.altKey || !card[side]) return;
    event.preventDefault();
    card[side].querySelector("button").focus();
  });
}
document.addEventListener("click", (event) => {
  const pair = event.target.closest("button[data-truth]");
  if (pair) showPair(pair);
  const more = event.target.closest("button.show-more");
  if (more) {
    const items = byId(more.dataset.of).querySelectorAll(".more");
    for (const item of items) item.hidden = false;
    for (const canvas of byId(more.dataset.of).querySelectorAll("canvas")) paintPair(canvas);
    more.remove();
    items[0]?.querySelector("button")?.focus();
  }
});
document.addEventListener("click", (event) => {
  const link = event.target.closest('a[href^="#"]');
  if (!link) return;
  event.preventDefault(); // the address holds the state
  goTo(link.getAttribute("href").slice(1));
});
document.addEventListener("click", (event) => {
  const cells = event.target.closest("button[data-cells]");
  if (cells) fillMatrix(cells.dataset.cells === "shares");
});
byId("download").addEventListener("click", download);
byId("copy").addEventListener("click", copy);
byId("tools").addEventListener("submit", (event) => event.preventDefault());
byId("chips").addEventListener("click", (event) => {
  const kind = event.target.closest("button")?.dataset.kind;
  if (!kind) return;
  const kinds = new Set(state.show ? state.show.split(",") : []);
  if (!kinds.delete(kind)) kinds.add(kind);
  set({ show: [...kinds].join(",") });
});
byId("map").addEventListener("change", () => {
  state.map = byId("map").value;
  redraw();
  writeAddress();
});
for (const key of ["predicted", "truth"]) {
  byId(key).addEventListener("change", () => set({ [key]: byId(key).value }));
}
byId("sort").addEventListener("change", () => set({ sort: byId("sort").value, down: "" }));
byId("direction").addEventListener("click", () => set({ down: state.down ? "" : "1" }));
byId("query").addEventListener("input", () => set({ q: byId("query").value }));
byId("mix").addEventListener("input", () => { state.mix = byId("mix").value; mixed(); writeAddress(); });
byId("clear").addEventListener("click", () => {
  set({ predicted: "", truth: "", show: "", q: "" });
  byId("query").focus();
});
window.addEventListener("hashchange", () => {
  readAddress();
  update();
  openAsked();
});

function openAsked() {
  if (state.open !== "") show(images[state.open]);
  else if (dialog.open) dialog.close();
}

fillTools();
readAddress();
fillWorth();
update();
openAsked();
prepareMatrix();
for (const canvas of document.querySelectorAll("canvas.scale")) paint(canvas, Uint8Array.from({ length: 256 }, (_, i) => i), 256, 1);
for (const canvas of document.querySelectorAll("#pairs li:not([hidden]) canvas")) paintPair(canvas);
