// Tables that are sorted by a click on a heading.

document.addEventListener("click", (event) => {
  const button = event.target.closest("table.sortable button.sort");
  if (!button) return;
  const head = button.closest("th");
  const table = button.closest("table");
  // Numbers begin with the lowest; what has none stays last either way.
  const down = head.getAttribute("aria-sort") === "ascending";
  for (const other of table.querySelectorAll("th[aria-sort]")) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  const sign = down ? -1 : 1;
  const column = head.cellIndex;
  const collapsed = table.querySelector("tr.more[hidden]") !== null;
  for (const body of table.tBodies) {
    const entries = [...body.rows].map((row) => {
      const { value } = row.cells[column].dataset;
      return { row, text: row.cells[column].textContent, value: value ? Number(value) : NaN };
    });
    const named = column === 0;
    entries.sort((a, b) => {
      if (named) return sign * a.text.localeCompare(b.text);
      return Number.isNaN(a.value) - Number.isNaN(b.value) || sign * (a.value - b.value) || 0;
    });
    for (const [place, { row }] of entries.entries()) {
      if (table.dataset.first) {
        const late = place >= Number(table.dataset.first);
        row.classList.toggle("more", late);
        row.hidden = late && collapsed;
      }
      body.append(row);
    }
  }
});
