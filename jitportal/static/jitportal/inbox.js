/* Keys of the inbox; all of it can be done with Tab and Enter too. j and k are walked by portal.js. */
(() => {
  "use strict";

  const comment = () => document.getElementById("comment");
  let verdict = ""; // what Enter in the comment will send: "approve", "deny" or nothing special

  const arm = (name) => {
    verdict = name;
    for (const key of ["approve", "deny"]) {
      document.getElementById(key)?.classList.toggle("armed", key === name);
    }
  };

  const isTyping = (target) => target.closest("input, textarea, select, [contenteditable]") !== null;

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
    if (isTyping(event.target) || document.body.dataset.keys === "off") return;
    const field = comment();
    if (event.key === "j" || event.key === "k") {
      if (document.activeElement?.matches("[data-item]:not([aria-current])")) document.activeElement.click();
    } else if ((event.key === "a" || event.key === "d") && field) {
      event.preventDefault();
      arm(event.key === "a" ? "approve" : "deny");
      field.focus();
    } else if (event.key === "/" && field) {
      event.preventDefault();
      arm("");
      field.focus();
    } else if (event.key === "?") {
      const keys = document.querySelector("details.keys");
      if (keys) keys.open = !keys.open;
    }
  });

  document.addEventListener("htmx:afterSwap", (event) => {
    const board = document.getElementById("board");
    if (!board || event.detail.target.id !== "board") return;
    arm("");
    const count = document.querySelector(".nav .count");
    const waiting = board.dataset.waiting;
    if (count && !waiting.endsWith("+")) {
      count.hidden = waiting === "0";
      const text = [...count.childNodes].find((node) => node.nodeType === Node.TEXT_NODE && node.textContent.trim());
      if (text) text.textContent = waiting;
    }
    // After a decision the button that had the focus is gone: go on with what is shown now.
    if (event.detail.requestConfig.verb === "post") {
      const wrong = board.querySelector("[aria-invalid=true]");
      (wrong || document.getElementById("reading") || board.querySelector("h1"))?.focus();
    }
  });
})();
