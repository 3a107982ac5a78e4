// The arrow keys in a confusion matrix.

function prepareMatrix() {
  const matrix = byId("matrix");
  if (!matrix) return;
  const cells = [...matrix.querySelectorAll("button")];
  if (cells.length) cells[0].tabIndex = 0;
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
