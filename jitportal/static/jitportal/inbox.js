/* Keys and selection of the inbox; all of it can be done with Tab and Enter too. j and k are walked by portal.js. */
(() => {
  "use strict";

  const comment = () => document.getElementById("comment");
  const board = () => document.getElementById("board");
  let verdict = ""; // what Enter in the comment will send: "approve", "deny" or nothing special

  const arm = (name) => {
    verdict = name;
    for (const key of ["approve", "deny"]) {
      document.getElementById(key)?.classList.toggle("armed", key === name);
    }
  };

  const isTyping = (target) => target.closest("input:not([type=checkbox]), textarea, select, [contenteditable]") !== null;

  // -- what is selected stays selected when the board is replaced, unless it changed meanwhile
  const picked = new Set();
  const boxes = () => [...document.querySelectorAll("[data-pick]")];
  const tellPicked = () => {
    const all = document.getElementById("pick-all");
    if (all) {
      all.closest("label").hidden = false; // without scripts it would do nothing
      all.checked = picked.size > 0 && picked.size === boxes().length;
      all.indeterminate = picked.size > 0 && !all.checked;
    }
    for (const button of document.querySelectorAll("[data-picks]")) {
      button.textContent = button.dataset.picks.replace("#", picked.size);
    }
  };
  const remember = () => {
    picked.clear();
    for (const box of boxes()) if (box.checked) picked.add(box.value);
    tellPicked();
  };
  const restore = () => {
    for (const box of boxes()) box.checked = picked.has(box.value);
    remember();
  };
  document.addEventListener("change", (event) => {
    if (event.target.matches("[data-pick-all]")) {
      for (const box of boxes()) box.checked = event.target.checked;
      remember();
    } else if (event.target.matches("[data-pick]")) remember();
  });
  tellPicked();
  addEventListener("pageshow", remember); // a page that comes back has its boxes as they were

  // -- what was typed about a request stays when the list is fetched anew
  let typed = new Map();
  const fields = () => [...document.querySelectorAll("#comment, #question")];
  const about = (field) => `${field.id} ${field.form.action}`;
  document.addEventListener("htmx:beforeSwap", (event) => {
    const isRead = event.detail.target.id === "board" && event.detail.requestConfig.verb === "get";
    typed = new Map(isRead ? fields().map((field) => [about(field), field.value]) : []);
  });
  const retype = () => {
    for (const field of fields()) if (!field.value) field.value = typed.get(about(field)) || "";
  };

  // -- the list of keys
  const keys = document.getElementById("keys");
  keys?.addEventListener("keydown", (event) => {
    event.stopPropagation(); // behind an open dialog no key does anything
    if (event.key === "?") keys.close();
  });
  document.addEventListener("click", (event) => {
    if (event.target.closest("[data-opens-keys]")) keys?.showModal();
    else if (event.target === keys) keys.close(); // beside the dialog
  });

  // -- with a selection, a and d go to the page that shows what will happen
  const together = (name) => {
    if (!picked.size) return false;
    document.querySelector(`#bulk [value=${name}]`)?.click();
    return true;
  };

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.id === "comment") {
      if (event.key === "Escape") arm("");
      if (event.key === "Enter" && !event.isComposing) {
        event.preventDefault();
        if (event.repeat) return; // a key that is held down sends nothing twice
        const button = document.getElementById(verdict || "approve");
        if (verdict === "deny" && !event.target.value.trim()) {
          event.target.placeholder = "Say why you deny it";
          return;
        }
        if (verdict) button.click();
        else button.focus(); // Enter without a choice goes on to the button, and sends nothing
      }
      return;
    }
    if (isTyping(event.target)) return;
    if (event.key === "Escape" && picked.size && !event.target.closest("details[open]")) {
      picked.clear();
      restore();
      return;
    }
    if (document.body.dataset.keys === "off") return;
    const field = comment();
    if (event.key === "j" || event.key === "k") {
      if (document.activeElement?.matches("[data-item]:not([aria-current])")) document.activeElement.click();
    } else if (event.key === "x") {
      const item = document.activeElement?.closest(".pick") || document.querySelector("[data-item][aria-current]")?.closest(".pick");
      const box = item?.querySelector("[data-pick]");
      if (box) {
        event.preventDefault();
        box.click();
      }
    } else if (event.key === "*") {
      event.preventDefault();
      document.getElementById("pick-all")?.click();
    } else if (event.key === "a" || event.key === "d") {
      const name = event.key === "a" ? "approve" : "deny";
      if (event.repeat || together(name)) {
        event.preventDefault();
      } else if (field) {
        event.preventDefault();
        arm(name);
        field.focus();
      }
    } else if (event.key === "c" && field) {
      event.preventDefault();
      arm("");
      field.focus();
    } else if (event.key === "o") {
      const hand = document.getElementById("hand-over");
      if (!hand) return;
      event.preventDefault();
      hand.open = true;
      hand.querySelector("input[name=to]").focus();
    } else if (event.key === "/") {
      const filter = document.getElementById("filter");
      if (!filter) return;
      event.preventDefault();
      filter.open = true;
      filter.querySelector("input[name=who]").focus();
    } else if (event.key === "?") {
      event.preventDefault();
      keys?.showModal();
    }
  });

  document.addEventListener("htmx:afterSwap", (event) => {
    if (!board() || event.detail.target.id !== "board") return;
    arm("");
    restore();
    retype();
    // After a decision the button that had the focus is gone: go on with what is shown now.
    if (event.detail.requestConfig.verb === "post") {
      const wrong = board().querySelector("[aria-invalid=true]");
      (wrong || document.getElementById("reading") || board().querySelector("h1"))?.focus();
    }
  });
})();
