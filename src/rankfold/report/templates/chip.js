// What is pointed at, or reached by keys, says what it is; the same thing elsewhere is shown with it.
(() => {
  const tip = document.querySelector(".tip");
  for (const mark of document.querySelectorAll(".mark")) {
    const title = mark.querySelector(":scope > title");
    mark.setAttribute("aria-label", title.textContent);
    title.remove(); // Else browsers would show it beside the tip.
  }
  function show(mark, x, y) {
    tip.textContent = mark.getAttribute("aria-label");
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    tip.style.left = Math.max(4, Math.min(x + 14, innerWidth - box.width - 4)) + "px";
    tip.style.top = (y + 18 + box.height > innerHeight ? Math.max(4, y - box.height - 12) : y + 18) + "px";
  }
  function gather(mark) {
    const of = mark.dataset.of;
    for (const chart of document.querySelectorAll("svg.chart")) {
      let found = false;
      for (const each of chart.querySelectorAll("[data-of]")) {
        each.classList.toggle("seen", each.dataset.of === of);
        found ||= each.dataset.of === of;
      }
      chart.classList.toggle("some", Boolean(of) && found);
    }
  }
  function leave() { tip.hidden = true; gather({ dataset: {} }); }
  addEventListener("pointermove", event => {
    const mark = event.target.closest?.(".mark");
    if (!mark) return leave();
    show(mark, event.clientX, event.clientY);
    gather(mark);
  });
  addEventListener("pointerleave", leave);
  addEventListener("scroll", leave, { passive: true });
  addEventListener("keydown", event => { if (event.key === "Escape") leave(); });
  addEventListener("focusin", event => {
    const mark = event.target.closest?.(".mark");
    if (!mark) return leave();
    const box = mark.getBoundingClientRect();
    show(mark, box.left, Math.min(box.bottom, innerHeight - 60));
    gather(mark);
  });
})();
