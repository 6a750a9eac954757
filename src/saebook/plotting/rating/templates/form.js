document.querySelectorAll("form.rating:not([data-ready])").forEach((form) => {
  form.dataset.ready = "true";
  const cards = [...form.querySelectorAll(".card")], place = `ratings_${form.dataset.hash}`;
  const quoted = (text) => `"${text.replaceAll('"', '""')}"`;
  const label = (card) => card.querySelector("input:checked")?.value ?? "";
  const words = (card) => card.querySelector("textarea");
  let kept = "";
  const count = () => {
    cards.forEach((card) => card.classList.toggle("rated", label(card) !== ""));
    form.querySelector("output").value = `${cards.filter(label).length} of ${cards.length} rated${kept}`;
  };
  // What was filled in survives a reload, where the browser lets a page keep anything.
  const keep = () => {
    try {
      localStorage.setItem(place, JSON.stringify(cards.map((card) => [label(card), words(card).value])));
      kept = ", kept in this browser";
    } catch { kept = ", not kept: download them before you leave"; }
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
  // One card at a time: the next one, and after the last the first that has no label, or the button that saves them.
  const show = (card) => {
    cards.forEach((one) => { one.open = one === card; });
    const head = card?.querySelector("summary") ?? form.querySelector("[type=submit]");
    head.focus({ preventScroll: true });
    (card ?? head).scrollIntoView({ block: card ? "start" : "center" });
  };
  cards.forEach((card, i) => {
    const [previous, next] = [".previous", ".next"].map((name) => card.querySelector(name));
    previous.hidden = i === 0;
    next.hidden = false;
    previous.addEventListener("click", () => show(cards[i - 1]));
    next.addEventListener("click", () => show(cards[i + 1] ?? cards.find((one) => !label(one))));
  });
  form.addEventListener("input", () => { keep(); count(); });
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
  const first = cards.find((card) => !label(card));
  if (first) cards.forEach((card) => { card.open = card === first; });
  count();
});
