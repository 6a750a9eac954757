// Everything here only adds comfort: each page reads well without it.

// The parts of the book fold in the sidebar; the part that is being read stays open.
document.addEventListener("DOMContentLoaded", () => {
  document.querySelectorAll("#pst-primary-sidebar p.caption, .bd-sidebar-primary p.caption").forEach((caption) => {
    const list = caption.nextElementSibling;
    if (list?.tagName !== "UL") return;
    const part = document.createElement("details"), head = document.createElement("summary");
    part.className = "part";
    part.open = list.querySelector(".current") !== null;
    head.className = "caption";
    head.append(...caption.childNodes);
    caption.replaceWith(part);
    part.append(head, list);
  });
});

// What is wider than the page scrolls in a box of its own that the keyboard reaches, and says so.
window.addEventListener("load", () => {
  const article = document.querySelector(".bd-article");
  const boxed = (element, name) => {
    const box = document.createElement("div");
    box.className = name;
    element.replaceWith(box);
    box.append(element);
  };
  article?.querySelectorAll("table:not(.ledger)").forEach((table) => {
    if (!table.closest(".scrolls, .pst-scrollable-table-container")) boxed(table, "scrolls");
  });
  article?.querySelectorAll(".cell_output img").forEach((image) => {
    if (image.naturalWidth > 1100) boxed(image, "scrolls wide-figure");
  });
  const mark = (box) => {
    const wider = box.scrollWidth > box.clientWidth + 2;
    box.classList.toggle("overflows", wider);
    if (wider) box.tabIndex = 0;
  };
  const watch = new ResizeObserver((entries) => requestAnimationFrame(() => entries.forEach(({target}) => mark(target))));
  article?.querySelectorAll(".scrolls, .pst-scrollable-table-container").forEach((box) => watch.observe(box));
});

// A list by its role needs items by theirs, which the entries of a bibliography are not.
document.addEventListener("DOMContentLoaded", () => {
  document.querySelectorAll(".citation-list[role=list]").forEach((list) => list.removeAttribute("role"));
});

// The ledger is narrowed by native controls; an address may ask for a paper, a verdict and a grade.
document.addEventListener("DOMContentLoaded", () => {
  const form = document.querySelector(".ledger-filter"), rows = [...document.querySelectorAll("table.ledger tbody tr")];
  if (!form) return;
  const asked = new URLSearchParams(location.search);
  for (const name of ["paper", "verdict", "grade"]) if (asked.has(name)) form.elements[name].value = asked.get(name);
  const narrow = () => {
    const wanted = Object.fromEntries(new FormData(form)), words = wanted.words.toLowerCase();
    let shown = 0;
    for (const row of rows) {
      row.hidden = (wanted.paper && row.dataset.paper !== wanted.paper)
        || (wanted.verdict && row.dataset.verdict !== wanted.verdict)
        || (wanted.grade && row.dataset.grade !== wanted.grade) || !row.textContent.toLowerCase().includes(words);
      shown += !row.hidden;
    }
    form.querySelector("output").value = `${shown} of ${rows.length} claims`;
  };
  form.hidden = false;
  form.addEventListener("input", narrow);
  form.addEventListener("submit", (event) => event.preventDefault());
  narrow();
});
