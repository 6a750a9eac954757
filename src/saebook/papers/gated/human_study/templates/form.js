document.querySelectorAll("form.rating:not([data-ready])").forEach((form) => {
  form.dataset.ready = "true";
  const cards = [...form.querySelectorAll(".card")], place = `ratings_${form.dataset.hash}`;
  const quoted = (text) => `"${text.replaceAll('"', '""')}"`;
  const label = (card) => card.querySelector("input:checked")?.value ?? "";
  const words = (card) => card.querySelector("textarea");
  const count = () => {
    cards.forEach((card) => card.classList.toggle("rated", label(card) !== ""));
    form.querySelector("output").value = `${cards.filter(label).length} of ${cards.length} rated`;
  };
  // What was filled in survives a reload, where the browser lets a page keep anything.
  const keep = () => {
    try { localStorage.setItem(place, JSON.stringify(cards.map((card) => [label(card), words(card).value]))); } catch {}
  };
  const restore = () => {
    try {
      (JSON.parse(localStorage.getItem(place)) ?? []).forEach(([rated, text], i) => {
        const button = [...cards[i].querySelectorAll("input")].find((input) => input.value === rated);
        if (button) button.checked = true;
        words(cards[i]).value = text;
      });
    } catch {}
  };
  form.addEventListener("input", () => { count(); keep(); });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const rows = cards.map((card) => [card.dataset.card, label(card), quoted(words(card).value), form.dataset.hash]);
    const text = ["card,label,explanation,cards_hash", ...rows].join("\n") + "\n";
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], {type: "text/csv"}));
    link.download = `${place}.csv`;
    link.click();
    URL.revokeObjectURL(link.href);
  });
  restore();
  count();
});
