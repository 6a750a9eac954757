document.querySelectorAll(".sortable:not([data-ready])").forEach((box) => {
  box.dataset.ready = "true";
  const table = box.querySelector("table"), body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const value = (row, i) => row.cells[i].dataset.value ?? row.cells[i].textContent;
  // Numbers by size and before words, words by the alphabet.
  const compare = (a, b) => {
    if (a === b) return 0;
    if (!isNaN(a) && !isNaN(b)) return a - b;
    if (isNaN(a) !== isNaN(b)) return isNaN(a) ? 1 : -1;
    return a < b ? -1 : 1;
  };
  heads.forEach((head, i) => head.querySelector("button").addEventListener("click", () => {
    const up = head.getAttribute("aria-sort") !== "ascending";
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    body.append(...[...body.rows].sort((a, b) => (up ? 1 : -1) * compare(value(a, i), value(b, i))));
  }));
});
