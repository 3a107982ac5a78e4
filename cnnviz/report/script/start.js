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
  const more = event.target.closest("button.show-more");
  if (more) {
    const items = byId(more.dataset.of).querySelectorAll(".more");
    for (const item of items) item.hidden = false;
    for (const canvas of byId(more.dataset.of).querySelectorAll("canvas")) paintMean(canvas);
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
for (const key of SELECTS) {
  byId(key).addEventListener("change", () => {
    const { value } = byId(key);
    if (FILTERS.includes(key)) set({ [key]: value });
    else if (key === "sort") set({ sort: value, down: "" });
    else {
      state[key] = value;
      redraw();
      writeAddress();
    }
  });
}
byId("direction").addEventListener("click", () => set({ down: state.down ? "" : "1" }));
byId("query").addEventListener("input", () => set({ q: byId("query").value }));
byId("mix").addEventListener("input", () => { state.mix = byId("mix").value; mixed(); writeAddress(); });
byId("clear").addEventListener("click", () => {
  set({ ...Object.fromEntries(FILTERS.map((key) => [key, ""])), show: "", q: "" });
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

fillLists();
fillTools();
readAddress();
update();
openAsked();
begin();
