// Mean heatmaps, the color scale, and the confusion matrix.

const bytes = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
const scale = bytes(data.scale);

function paint(canvas, values, width, height) {
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(width, height);
  for (let i = 0; i < values.length; i += 1) {
    pixels.data.set(scale.subarray(3 * values[i], 3 * values[i] + 3), 4 * i);
    pixels.data[4 * i + 3] = 255;
  }
  context.putImageData(pixels, 0, 0);
}

/** Bilinear between the centers of the cells, in numbers and not in colors. */
function enlarge(values, [height, width], side) {
  const result = new Uint8Array(side * side);
  const along = (length) => Array.from({ length: side }, (_, i) => {
    const at = Math.min(length - 1, Math.max(0, ((i + 0.5) / side) * length - 0.5));
    const low = Math.floor(at);
    return [low, Math.min(length - 1, low + 1), at - low];
  });
  const columns = along(width);
  for (const [y, [top, bottom, down]] of along(height).entries()) {
    for (const [x, [left, right, across]] of columns.entries()) {
      const row = (r) => values[r * width + left] * (1 - across) + values[r * width + right] * across;
      result[y * side + x] = Math.round(row(top) * (1 - down) + row(bottom) * down);
    }
  }
  return result;
}

function paintPair(canvas) {
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

function prepareMatrix() {
  const matrix = byId("matrix");
  if (!matrix) return;
  const cells = [...matrix.querySelectorAll("button")];
  for (const cell of cells) cell.style.setProperty("--strength", 0.1 + 0.4 * Number(cell.dataset.share));
  if (cells.length) cells[0].tabIndex = 0;
  for (const cell of cells) cell.dataset.count = cell.textContent;
  const at = (cell) => [cell.closest("tr").rowIndex, cell.closest("td").cellIndex];
  matrix.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    const here = event.target.closest("button");
    if (!step || !here || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    const [row, column] = at(here);
    // The nearest cell that way; beside the straight line only if there is none on it.
    const ranked = cells
      .map((cell) => {
        const [r, c] = at(cell);
        const ahead = (r - row) * step[0] + (c - column) * step[1];
        const aside = Math.abs((r - row) * step[1]) + Math.abs((c - column) * step[0]);
        return { cell, ahead, cost: ahead + 1000 * aside };
      })
      .filter(({ ahead }) => ahead > 0)
      .sort((a, b) => a.cost - b.cost);
    if (!ranked.length) return;
    here.tabIndex = -1;
    ranked[0].cell.tabIndex = 0;
    ranked[0].cell.focus();
  });
}
