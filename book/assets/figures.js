// Figures of chapters: a run's details on tap, hover and focus; a slider over loss; a map whose cells open their curves.
// Without this script figures, numbers and tables are all there, and a mark's details are its title.
document.addEventListener("DOMContentLoaded", () => {
  const hint = "Tap a mark, or walk through them with the arrow keys, to see its run.";

  const details = (panel) => {
    const plot = panel.querySelector("svg.plot"), words = panel.querySelector(".run-words");
    // Neighbours on the page are neighbours for the keys.
    const runs = [...plot.querySelectorAll(".run")];
    if (!runs.length) return;
    let chosen = null;
    const tell = (run) => {
      if (run === chosen) return;
      chosen?.classList.remove("chosen");
      chosen?.setAttribute("tabindex", "-1");
      chosen = run;
      run.classList.add("chosen");
      run.setAttribute("tabindex", "0");
      words.textContent = run.querySelector("title").textContent;
      words.classList.add("told");
    };
    runs.forEach((run, i) => run.setAttribute("tabindex", i ? "-1" : "0"));
    words.textContent = hint;
    words.hidden = false;
    const nearest = (event, within) => {
      let best = null, least = within;
      for (const run of runs) {
        const box = run.querySelector(".ring").getBoundingClientRect();
        const distance = Math.hypot(box.x + box.width / 2 - event.clientX, box.y + box.height / 2 - event.clientY);
        if (distance < least) [best, least] = [run, distance];
      }
      return best;
    };
    plot.addEventListener("click", (event) => { const run = nearest(event, 32); if (run) tell(run); });
    plot.addEventListener("pointermove", (event) => {
      const run = event.pointerType === "mouse" && nearest(event, 12);
      if (run) tell(run);
    });
    plot.addEventListener("focusin", (event) => { const run = event.target.closest(".run"); if (run) tell(run); });
    plot.addEventListener("keydown", (event) => {
      const here = runs.indexOf(event.target.closest(".run"));
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1, Home: -Infinity, End: Infinity }[event.key];
      if (!step || here < 0) return;
      runs[Math.min(runs.length - 1, Math.max(0, here + step))].focus();
      event.preventDefault();
    });
  };

  const slider = (panel) => {
    const form = panel.querySelector(".equal-loss");
    if (!form) return;
    const levels = JSON.parse(form.querySelector("script").textContent), input = form.querySelector("input");
    const plot = panel.querySelector("svg.plot"), line = plot.querySelector(".level"), drops = [...plot.querySelectorAll(".drop")];
    const table = panel.querySelector(".ratios"), head = table.querySelector("th.at span"), cells = [...table.querySelectorAll("td.at")];
    table.querySelectorAll(".at").forEach((cell) => { cell.hidden = false; });
    const move = () => {
      const level = levels[input.value];
      for (const end of ["y1", "y2"]) line.setAttribute(end, level.y);
      drops.forEach((drop, i) => {
        drop.toggleAttribute("hidden", level.x[i] === null);
        if (level.x[i] === null) return;
        for (const end of ["x1", "x2"]) drop.setAttribute(end, level.x[i]);
        drop.setAttribute("y1", level.y);
      });
      input.setAttribute("aria-valuetext", level.loss);
      form.querySelector("output").value = head.textContent = level.loss;
      cells.forEach((cell, i) => { cell.textContent = level.ratios[i]; });
    };
    form.hidden = false;
    plot.classList.add("at-level");
    form.addEventListener("input", move);
    form.addEventListener("submit", (event) => event.preventDefault());
    move();
  };

  for (const figure of document.querySelectorAll(".drawn-figure")) {
    const cells = [...figure.querySelectorAll(".heat-map a")], panels = [...figure.querySelectorAll(".panel")];
    panels.forEach((panel) => { details(panel); slider(panel); });
    const here = (target) => cells.forEach((cell) => {
      cell.hash === `#${target?.id}` ? cell.setAttribute("aria-current", "true") : cell.removeAttribute("aria-current");
    });
    if (cells.length) {
      figure.classList.add("mapped");
      here(panels.find((panel) => panel.open));
    }
    for (const cell of cells) {
      cell.addEventListener("click", (event) => {
        const target = document.getElementById(cell.hash.slice(1));
        for (const panel of panels) if (panel.tagName === "DETAILS") panel.open = panel === target;
        here(target);
        target.scrollIntoView({ block: "nearest" });
        event.preventDefault();
      });
    }
  }
});
