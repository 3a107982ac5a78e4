// What only the page of a run does: pairs of classes, their mean maps, and how it begins.

function paintMean(canvas) {
  if (canvas.width === 120) return;
  const { shape, map } = data.pairs[canvas.dataset.pair];
  paint(canvas, enlarge(bytes(map), shape, 120), 120, 120);
}

/** Counts in the cells, or shares of the images of their true class. */
function fillMatrix(shares) {
  for (const cell of byId("matrix").querySelectorAll("button")) {
    cell.textContent = shares ? `${Math.round(100 * Number(cell.dataset.share))}%` : cell.dataset.count;
  }
  for (const button of document.querySelectorAll("button[data-cells]")) {
    button.setAttribute("aria-pressed", (button.dataset.cells === "shares") === shares);
  }
}

document.addEventListener("click", (event) => {
  const pair = event.target.closest("button[data-truth]");
  if (pair) showPair(pair);
  const cells = event.target.closest("button[data-cells]");
  if (cells) fillMatrix(cells.dataset.cells === "shares");
});

function begin() {
  fillWorth();
  for (const cell of byId("matrix")?.querySelectorAll("button") ?? []) {
    cell.style.setProperty("--strength", 0.1 + 0.4 * Number(cell.dataset.share));
    cell.dataset.count = cell.textContent;
  }
  prepareMatrix();
  for (const canvas of document.querySelectorAll("canvas.scale")) paintScale(canvas);
  for (const canvas of document.querySelectorAll("#pairs li:not([hidden]) canvas")) paintMean(canvas);
}
