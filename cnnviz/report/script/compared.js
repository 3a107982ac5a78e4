// What only the page of a comparison does: rows and cells that filter, mean maps, how it begins.

let shownCells = "change";

const SIGNED = new Intl.NumberFormat("en", { signDisplay: "exceptZero" });

/** Counts of A or of B in the cells, or the change. */
function fillMatrix(which) {
  const matrix = byId("matrix");
  if (!matrix) return;
  shownCells = which;
  for (const cell of matrix.querySelectorAll("button")) {
    const { a, b } = cell.dataset;
    const count = which === "change" ? Number(b) - Number(a) : Number(cell.dataset[which]);
    const most = Number(which === "change" ? matrix.dataset.mostChange : matrix.dataset.most);
    cell.textContent = which === "change" ? minus(SIGNED.format(count)) : count;
    cell.style.setProperty("--strength", count ? 0.12 + 0.4 * (Math.abs(count) / most) : 0);
  }
  matrix.dataset.shown = which;
  for (const button of document.querySelectorAll("button[data-cells]")) {
    button.setAttribute("aria-pressed", button.dataset.cells === which);
  }
  marked();
}

/** The mean maps of A and B are drawn up to the higher of their maxima. */
function paintMean(canvas) {
  const { group, side } = canvas.dataset;
  if (group === undefined) return;
  const pair = data.groups[group];
  const most = Math.max(1, ...pair.map(({ map }) => Math.max(...bytes(map))));
  paint(canvas, enlarge(bytes(pair[side].map), pair[side].shape, 120, 255 / most), 120, 120);
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  const { show: kind, class: number, truth, cells } = button.dataset;
  if (kind) showOnly(button, wantedByRow(button));
  else if (number) showOnly(button, { truth: number });
  else if (truth) showOnly(button, wantedBy(button));
  else if (cells) fillMatrix(cells);
});

function begin() {
  // The page's policy allows no style in an attribute.
  for (const bar of document.querySelectorAll("i[data-share]")) bar.style.setProperty("--share", bar.dataset.share);
  fillMatrix("change");
  prepareMatrix();
  for (const canvas of document.querySelectorAll("canvas.scale")) paintScale(canvas);
  for (const canvas of document.querySelectorAll("canvas[data-group]")) paintMean(canvas);
}
