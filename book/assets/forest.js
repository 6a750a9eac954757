// The forest plot of the front page is narrowed and sorted by native controls, and remembers in the address what it shows.
document.addEventListener("DOMContentLoaded", () => {
  const form = document.querySelector(".forest-filter");
  if (!form) return;
  const papers = [...document.querySelectorAll(".forest-paper")], names = ["paper", "verdict", "grade", "sort"];
  const rows = papers.map((paper) => [...paper.querySelectorAll("details.evidence")]);
  const all = rows.flat();
  const by = {
    verdict: (a, b) => a.dataset.rank - b.dataset.rank || b.dataset.reach - a.dataset.reach,
    reach: (a, b) => b.dataset.reach - a.dataset.reach,
  };
  const show = () => {
    const wanted = Object.fromEntries(new FormData(form));
    for (const row of all) {
      row.hidden = ["paper", "verdict", "grade"].some((name) => wanted[name] && row.dataset[name] !== wanted[name]);
    }
    papers.forEach((paper, i) => {
      paper.hidden = rows[i].every((row) => row.hidden);
      const order = by[wanted.sort] ? [...rows[i]].sort(by[wanted.sort]) : rows[i];
      if (order.some((row, j) => paper.children[j + 1] !== row)) paper.append(...order);
    });
    form.querySelector("output").value = `${all.filter((row) => !row.hidden).length} of ${all.length} claims`;
  };
  const remember = () => {
    const asked = new URLSearchParams(location.search);
    for (const name of names) form.elements[name].value ? asked.set(name, form.elements[name].value) : asked.delete(name);
    history.replaceState(null, "", `${location.pathname}${asked.size ? `?${asked}` : ""}${location.hash}`);
  };
  const asked = new URLSearchParams(location.search);
  for (const name of names) if (asked.has(name)) form.elements[name].value = asked.get(name);
  form.hidden = false;
  form.addEventListener("input", () => { show(); remember(); });
  form.addEventListener("submit", (event) => event.preventDefault());
  show();

  // Up and down walk through the rows; an opened row stands in the address, and an address opens its row.
  const opened = () => document.getElementById(decodeURIComponent(location.hash.slice(1)))?.closest("details.evidence");
  document.querySelector(".forest").addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1, Home: -Infinity, End: Infinity }[event.key];
    const here = event.target.closest?.("summary")?.parentElement;
    if (!step || !here) return;
    const shown = [...document.querySelectorAll(".forest details.evidence")].filter((row) => row.offsetParent !== null);
    const next = Math.min(shown.length - 1, Math.max(0, shown.indexOf(here) + step));
    shown[next].querySelector("summary").focus();
    event.preventDefault();
  });
  for (const row of all) {
    row.addEventListener("toggle", () => {
      if (row.open && opened() !== row) history.replaceState(null, "", `${location.pathname}${location.search}#${row.id}`);
    });
  }
  const target = opened();
  if (target) { target.open = true; target.scrollIntoView({ block: "center" }); }
});
