"use strict";
(() => {
  const box = document.getElementById("search");
  const count = document.getElementById("found");
  const items = Array.from(document.querySelectorAll(".item"));
  const all = Array.from(document.querySelectorAll("details"));
  let texts = null;
  let before = null;
  let timer = 0;
  document.getElementById("tools").hidden = false;

  // What an item says by itself is what decides; what lies inside of it makes it stay.
  const filter = () => {
    const wanted = box.value.trim().toLowerCase();
    if (wanted === "") {
      if (before !== null) {
        before.forEach((open, n) => { all[n].open = open; });
        before = null;
      }
      items.forEach((item) => { item.hidden = false; });
      count.textContent = "";
      return;
    }
    texts = texts || items.map((item) => item.textContent.toLowerCase());
    before = before || all.map((details) => details.open);
    let hits = 0;
    items.forEach((item, n) => {
      const hit = texts[n].includes(wanted);
      item.hidden = !hit;
      if (!hit) return;
      const head = item.querySelector("summary");
      if (head !== null && !head.textContent.toLowerCase().includes(wanted)) item.open = true;
      else hits += 1;
    });
    document.querySelectorAll(".out").forEach((out) => {
      if (out.textContent.toLowerCase().includes(wanted)) out.open = true;
    });
    count.textContent = hits + (hits === 1 ? " hit" : " hits");
  };
  box.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(filter, 120);
  });
  document.getElementById("open").addEventListener("click", () => all.forEach((details) => { details.open = true; }));
  document.getElementById("close").addEventListener("click", () => all.forEach((details) => { details.open = false; }));
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && document.activeElement !== box && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      box.focus();
    } else if (event.key === "Escape" && document.activeElement === box) {
      box.value = "";
      filter();
      box.blur();
    }
  });
  // A link into what is folded opens it.
  const reveal = () => {
    const target = /^#[a-z]+[0-9]*$/.test(location.hash) ? document.getElementById(location.hash.slice(1)) : null;
    if (target === null) return;
    for (let node = target; node !== null; node = node.parentElement) {
      if (node.tagName === "DETAILS") node.open = true;
    }
    target.scrollIntoView();
  };
  window.addEventListener("hashchange", reveal);
  reveal();
  let printed = null;
  window.addEventListener("beforeprint", () => {
    printed = all.map((details) => details.open);
    all.forEach((details) => { details.open = true; });
  });
  window.addEventListener("afterprint", () => {
    if (printed !== null) printed.forEach((open, n) => { all[n].open = open; });
    printed = null;
  });
})();
