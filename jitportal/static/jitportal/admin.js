// Django's admin: a picker of people gets its field's name, which Select2 leaves out while nothing is chosen.
"use strict";
{
  const nameOf = (select) => {
    const label = select.labels?.[0]?.textContent ?? "";
    const column = select.closest("td")?.cellIndex ?? -1;
    const head = column < 0 ? null : select.closest("table")?.tHead?.rows[0];
    // the first cell of a body's row has no head of its own; a head may span two
    let at = 0;
    for (const cell of head?.cells ?? []) {
      at += cell.colSpan;
      if (at > column) return label || cell.textContent;
    }
    return label;
  };
  const name = (root) => {
    for (const select of root.querySelectorAll("select.select2-hidden-accessible")) {
      const picker = select.nextElementSibling;
      const words = nameOf(select).trim().replace(/:$/, "");
      if (!words || !picker?.classList.contains("select2")) continue;
      for (const part of picker.querySelectorAll("[role=combobox], [role=textbox]")) {
        part.setAttribute("aria-label", words);
      }
    }
  };
  // whenever Django's own script makes one: at its own time after the page is there, and in a row that is added
  new MutationObserver((changes) => {
    for (const { target, addedNodes } of changes) {
      if ([...addedNodes].some((node) => node.classList?.contains("select2"))) name(target);
    }
  }).observe(document.documentElement, { childList: true, subtree: true });
}
