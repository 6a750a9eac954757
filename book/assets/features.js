// The feature browser: native controls narrow and sort the table of latents, and a latent's dashboard is made when it is opened.
document.addEventListener("DOMContentLoaded", () => {
  const home = document.querySelector("section.features"), source = home?.querySelector(".features-data");
  if (!source) return;
  const data = JSON.parse(source.textContent);
  const columns = ["sae", "latent", "density", "largest", "histogram", "raised", "lowered", "top", "middle", "random",
    "other_seed", "other_kind", "own"];
  const named = (line) => Object.fromEntries(columns.map((name, i) => [name, line[i]]));
  const shown = data.shown.map(named), faces = [...shown, ...data.neighbours.map(named)];
  const names = { gated: "Gated", relu: "Baseline" };
  const called = (line) => names[data.saes[line.sae].method] ?? data.saes[line.sae].method;
  const place = new Map(faces.map((line) => [`${line.sae}:${line.latent}`, line]));
  const form = home.querySelector("form"), list = home.querySelector(".features-list"), card = home.querySelector("article");
  const body = list.querySelector("tbody"), rows = [...body.rows];
  rows.forEach((row, i) => { shown[i].row = row; });
  const bands = { top: "the strongest tokens", middle: "between a third and two thirds of the largest", random: "any token it fires on" };

  // Reading the compact lines: numbers in strings, contexts as `row start peak` and pairs `offset level`.
  const text = [];
  const words = (row) => (text[row] ??= data.text[row].split(" ").map((number) => data.tokens[number]));
  const contexts = (line, band) => line[band].split("|").filter(Boolean).map((one) => {
    const [row, start, peak, ...pairs] = one.split(" ").map(Number), on = new Map();
    for (let i = 0; i < pairs.length; i += 2) on.set(pairs[i], pairs[i + 1]);
    return { row, start, peak, on };
  });
  const effects = (given) => given.split(" ").filter(Boolean).map((one) => one.split(":").map(Number));
  const nearest = (given) => given.split(" ").filter(Boolean).map((one) => one.split(":").map(Number));
  const cosine = (given) => (given ? Number(given.split(" ")[0].split(":")[2]) : -2000);
  const visible = (token) => token.replaceAll("\n", "\u21b5").replaceAll("\t", "\u21e5");
  const number = (value) => Number(value.toPrecision(3)).toString();
  const signed = (value) => value.toFixed(Math.abs(value) < 0.1 ? 4 : 2).replace("-", "\u2212");
  const percent = (share) => `${Number((100 * share).toPrecision(2))} %`;
  const make = (tag, name, content) => {
    const element = document.createElement(tag);
    if (name) element.className = name;
    if (content !== undefined) element.append(...[content].flat());
    return element;
  };

  // A dashboard.
  const span = (line, context, from, to) => {
    const tokens = words(context.row), parts = [];
    for (let i = from; i < to; i++) {
      const level = context.on.get(i), token = visible(tokens[context.start + i]);
      if (!level) { parts.push(token); continue; }
      const one = make("span", i === context.peak ? "on peak" : "on", token);
      one.style.setProperty("--shade", (0.08 + 0.5 * level / 99).toFixed(2));
      one.title = number(line.largest * level / 99);
      parts.push(one);
    }
    return parts;
  };
  const band = (line, name) => {
    const items = contexts(line, name).map((context) => {
      const end = Math.min(data.window, words(context.row).length - context.start);
      const strength = make("span", "strength", number(line.largest * context.on.get(context.peak) / 99));
      return make("li", "", [strength, ...span(line, context, 0, end)]);
    });
    const head = make("h3", "", [`${name[0].toUpperCase()}${name.slice(1)} `, make("small", "", bands[name])]);
    return [head, items.length ? make("ol", "contexts", items) : make("p", "", "It has none of this strength.")];
  };
  const histogram = (line) => {
    const counts = line.histogram.split(" ").map(Number), most = Math.max(...counts, 1), width = 240 / counts.length;
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("viewBox", "0 0 240 60");
    svg.setAttribute("preserveAspectRatio", "none");
    svg.setAttribute("role", "img");
    svg.setAttribute("aria-label", `Tokens by strength from 0 to ${number(line.largest)}: ${counts.join(", ")}`);
    counts.forEach((count, i) => {
      const bar = document.createElementNS("http://www.w3.org/2000/svg", "rect");
      const height = count ? Math.max(1, 58 * count / most) : 0;
      for (const [name, value] of Object.entries({ x: i * width, y: 60 - height, width: width - 1, height })) bar.setAttribute(name, value);
      svg.append(bar);
    });
    const axis = make("div", "axis", [make("span", "", "0"), make("span", "", `at most ${most} tokens`), make("span", "", number(line.largest))]);
    return make("div", "", [make("h3", "", "Activations"), svg, axis]);
  };
  const logits = (line, name, title) => {
    const given = effects(line[name]), most = Math.max(...["raised", "lowered"].flatMap((one) => effects(line[one]).map(([, by]) => Math.abs(by))), 1e-9);
    const items = given.map(([token, by]) => {
      const bar = make("i");
      bar.style.width = `${100 * Math.abs(by) / most}%`;
      return make("li", "", [make("span", "", make("code", "", visible(data.tokens[token]))), make("span", "", signed(by)), bar]);
    });
    return make("div", "", [make("h3", "", title), make("ol", `logits ${name}`, items)]);
  };
  const neighbours = (line, name) => nearest(line[name]).map(([sae, latent, thousandths]) => {
    const other = place.get(`${sae}:${latent}`), title = `${called(other)} ${latent}`;
    let link = make("span", "", title);
    if (other.row) {
      link = make("a", "", title);
      link.href = `#${other.row.id}`;
    }
    const about = make("span", "", [link, make("small", "", ` seed ${data.saes[sae].seed}, ${percent(other.density)}`)]);
    const [context] = contexts(other, "top");
    const last = context && Math.min(context.peak + 5, data.window, words(context.row).length - context.start);
    const snippet = make("span", "snippet", context ? span(other, context, Math.max(0, context.peak - 9), last) : "");
    return make("li", "", [make("span", "cosine", (thousandths / 1000).toFixed(2).replace("-", "\u2212")), about, snippet]);
  });
  const near = (line) => {
    const titles = { other_seed: "Nearest in another seed", other_kind: "Nearest in the other architecture", own: "Nearest in its own SAE" };
    return Object.entries(titles).flatMap(([name, title]) => [make("h3", "", title), make("ol", "near", neighbours(line, name))]);
  };
  let current = null;
  const visibleRows = () => [...body.rows].filter((row) => !row.hidden);
  const step = (by) => {
    const among = visibleRows(), here = current ? among.indexOf(current.row) : -1;
    const next = among[Math.min(among.length - 1, Math.max(0, here + by))];
    if (next) choose(shown.find((line) => line.row === next));
  };
  const button = (words, by) => {
    const one = make("button", by < 0 ? "previous" : "next", words);
    one.type = "button";
    one.addEventListener("click", () => {
      step(by);
      card.querySelector(by < 0 ? ".previous" : ".next").focus();
    });
    return one;
  };
  const open = (line) => {
    if (!line) return;
    current?.row.removeAttribute("aria-current");
    current = line;
    line.row.setAttribute("aria-current", "true");
    // The row moves into view within its list, and the page stays where it is.
    const top = line.row.offsetTop - list.querySelector("thead").offsetHeight, bottom = line.row.offsetTop + line.row.offsetHeight;
    if (top < list.scrollTop) list.scrollTop = top;
    else if (bottom > list.scrollTop + list.clientHeight) list.scrollTop = bottom - list.clientHeight;
    const run = data.saes[line.sae];
    const about = `seed ${run.seed}; fires on ${percent(line.density)} of tokens, at most ${number(line.largest)}`;
    const header = make("header", "", [make("h2", "", `${called(line)} ${line.latent}`), make("p", "", about), button("previous", -1), button("next", 1)]);
    const numbers = make("div", "numbers", [histogram(line), logits(line, "raised", "Logits raised"), logits(line, "lowered", "Logits lowered")]);
    card.replaceChildren(header, numbers, ...Object.keys(bands).flatMap((name) => band(line, name)), ...near(line));
    card.setAttribute("aria-label", `${called(line)} ${line.latent}`);
    card.hidden = false;
  };
  const choose = (line) => { open(line); remember(); };

  // What is searched: tokens at the peaks of a latent's contexts, and those that it raises.
  for (const line of shown) {
    const peaks = Object.keys(bands).flatMap((name) => contexts(line, name).map((one) => words(one.row)[one.start + one.peak]));
    line.words = [...peaks, ...effects(line.raised).map(([token]) => data.tokens[token])].map((token) => token.toLowerCase());
  }
  const orders = {
    dense: (a, b) => b.density - a.density, rare: (a, b) => a.density - b.density, largest: (a, b) => b.largest - a.largest,
    alike: (a, b) => cosine(b.other_seed) - cosine(a.other_seed), unlike: (a, b) => cosine(a.other_seed) - cosine(b.other_seed),
    kind: (a, b) => cosine(b.other_kind) - cosine(a.other_kind),
  };
  const fields = ["token", "kind", "sort"];
  const show = () => {
    const { token, kind, sort } = Object.fromEntries(new FormData(form)), wanted = token.trim().toLowerCase();
    let count = 0;
    for (const line of shown) {
      line.row.hidden = (kind && line.row.dataset.kind !== kind) || (wanted && !line.words.some((word) => word.includes(wanted)));
      count += !line.row.hidden;
    }
    body.append(...(orders[sort] ? [...shown].sort(orders[sort]) : shown).map((line) => line.row));
    form.querySelector("output").value = `${count} of ${shown.length} latents`;
  };
  const remember = () => {
    const asked = new URLSearchParams(location.search);
    for (const name of fields) form.elements[name].value ? asked.set(name, form.elements[name].value) : asked.delete(name);
    const hash = current ? `#${current.row.id}` : location.hash;
    history.replaceState(null, "", `${location.pathname}${asked.size ? `?${asked}` : ""}${hash}`);
  };
  const addressed = () => shown.find((line) => line.row.id === decodeURIComponent(location.hash.slice(1)));

  const asked = new URLSearchParams(location.search);
  for (const name of fields) {
    const control = form.elements[name], given = asked.get(name);
    if (given !== null && (!control.options || [...control.options].some((one) => one.value === given))) control.value = given;
  }
  form.hidden = false;
  list.classList.add("ready");
  list.tabIndex = 0;
  form.addEventListener("input", () => { show(); remember(); });
  form.addEventListener("submit", (event) => event.preventDefault());
  home.addEventListener("click", (event) => {
    const link = event.target.closest?.("a[href^='#']"), line = link && shown.find((one) => `#${one.row.id}` === link.getAttribute("href"));
    if (!line) return;
    event.preventDefault();
    if (card.contains(link)) card.focus();
    choose(line);
  });
  list.addEventListener("keydown", (event) => {
    const by = { ArrowDown: 1, ArrowUp: -1, Home: -Infinity, End: Infinity }[event.key];
    if (!by) return;
    event.preventDefault();
    step(by);
    current?.row.querySelector("a").focus({ preventScroll: true });
  });
  window.addEventListener("hashchange", () => open(addressed()));
  show();
  // The address names a latent only once the reader has done something: a browser scrolls to what it names.
  open(addressed() ?? shown.find((line) => line.row === visibleRows()[0]));
});
