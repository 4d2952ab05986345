/* What scripts add to pages that work without them: countdowns, keys, copying. No framework. */
(() => {
  "use strict";

  // -- durations, as approvals/domain/durations.py says them
  const words = (seconds) => {
    const left = Math.max(0, Math.floor(seconds));
    const days = Math.floor(left / 86400), hours = Math.floor(left / 3600) % 24;
    const minutes = Math.floor(left / 60) % 60, rest = left % 60;
    let pair = [[minutes, "m"], [rest, "s"]];
    if (days) pair = [[days, "d"], [hours, "h"]];
    else if (hours) pair = [[hours, "h"], [minutes, "m"]];
    else if (minutes >= 10) pair = [[minutes, "m"]];
    return pair.filter(([count]) => count).map(([count, unit]) => `${count} ${unit}`).join(" ") || "0 s";
  };

  // -- countdowns run by the server's clock, which the page brings along
  const loadedAt = Date.now();
  const serverAt = Date.parse(document.body.dataset.now) || loadedAt;
  const now = () => serverAt + (Date.now() - loadedAt);

  // as the filter `ago` of approvals/templatetags/portal.py says it; days are the server's to name
  const ago = (seconds) => {
    if (seconds < 0) return `in ${words(-seconds)}`;
    if (seconds < 5) return "just now";
    return `${words(seconds < 60 ? seconds : seconds - (seconds % 60))} ago`;
  };

  const tick = () => {
    for (const element of document.querySelectorAll("time[data-ago]")) {
      const seconds = Math.floor((now() - Date.parse(element.dateTime)) / 1000);
      if (seconds <= -86400 || seconds >= 43200) continue;
      const text = ago(seconds);
      if (element.textContent !== text) element.textContent = text;
    }
    for (const element of document.querySelectorAll("[data-until]")) {
      const left = (Date.parse(element.dataset.until) - now()) / 1000;
      if (element.tagName === "PROGRESS") {
        element.value = Math.max(0, left);
        element.classList.toggle("soon", left <= element.max / 5);
        continue;
      }
      let text = `${element.dataset.words || ""}${words(left)}`;
      if (left <= 0) text = element.dataset.past || `${words(-left)} late`;
      if (element.textContent !== text) element.textContent = text;
      if (element.classList.contains("due")) {
        element.classList.toggle("late", left <= 0);
        element.classList.toggle("soon", left > 0 && left < 900);
      }
    }
  };
  setInterval(tick, 1000);

  // -- the browser's timezone is offered to whoever has chosen none
  const offer = document.querySelector("[data-zone-of]");
  const zones = offer && document.getElementById(offer.dataset.zoneOf);
  const here = Intl.DateTimeFormat().resolvedOptions().timeZone;
  if (zones && [...zones.options].some((option) => option.value === here)) {
    offer.textContent = `Use this browser’s: ${here}`;
    offer.hidden = false;
    offer.addEventListener("click", () => {
      zones.value = here;
      offer.form.requestSubmit();
    });
  }

  // -- keys: data-key presses or focuses, j and k walk data-item
  const isTyping = (target) => target.closest("input, textarea, select, [contenteditable]") !== null;

  const walk = (step) => {
    const items = [...document.querySelectorAll("[data-item]")];
    if (!items.length) return false;
    const at = items.findIndex((item) => item === document.activeElement || item.contains(document.activeElement));
    const from = at < 0 ? items.findIndex((item) => item.matches("[aria-current=true], [aria-selected=true]")) : at;
    items[Math.min(items.length - 1, Math.max(0, from + step))].focus();
    return true;
  };

  // Ctrl+Enter in a field presses its form's button; where several send different things, it must not choose
  const send = (form, event) => {
    event.preventDefault();
    const buttons = [...form.elements].filter((each) => each.type === "submit");
    const sends = (each) => [each.formAction, each.name, each.value].join("\n");
    if (new Set(buttons.map(sends)).size > 1 || buttons[0]?.disabled) return;
    form.requestSubmit(buttons[0]);
  };

  document.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      if (isTyping(event.target) && event.target.form) send(event.target.form, event);
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    if (event.key === "Escape") {
      const open = event.target.closest("details.drop[open]");
      if (open) {
        open.open = false;
        open.querySelector("summary").focus();
      } else if (isTyping(event.target)) event.target.blur();
      return;
    }
    if (isTyping(event.target) || document.body.dataset.keys === "off") return;
    if (event.key === "j" || event.key === "k") {
      if (walk(event.key === "j" ? 1 : -1)) event.preventDefault();
      return;
    }
    const target = document.querySelector(`[data-key="${CSS.escape(event.key)}"]`);
    if (!target) return;
    event.preventDefault();
    if (target.matches("input:not([type=submit], [type=button]), textarea, select")) target.focus();
    else target.click();
  });

  // -- a form is sent once, unless a file answers it and the page stays; a page that comes back from the
  //    browser's cache may send again
  document.addEventListener("submit", (event) => {
    if (event.defaultPrevented || event.target.method !== "post" || event.target.dataset.again !== undefined) return;
    if (event.target.dataset.sent) event.preventDefault();
    event.target.dataset.sent = "1";
  });
  addEventListener("pageshow", (event) => {
    if (event.persisted) for (const form of document.querySelectorAll("[data-sent]")) delete form.dataset.sent;
  });

  // -- what is typed beside a choice chooses it
  document.addEventListener("input", (event) => {
    const radio = event.target.dataset.chooses && document.getElementById(event.target.dataset.chooses);
    if (radio && event.target.value) radio.checked = true;
  });
  document.addEventListener("change", (event) => {
    const field = event.target.dataset.opens && document.getElementById(event.target.dataset.opens);
    if (field && event.target.checked) field.focus();
    const stale = event.target.dataset.clears && document.getElementById(event.target.dataset.clears);
    if (stale) stale.value = "";
  });

  // -- one popped-out box at a time; a click elsewhere closes it
  document.addEventListener("click", (event) => {
    for (const box of document.querySelectorAll("details.drop[open]")) {
      if (!box.contains(event.target)) box.open = false;
    }
  });

  // -- what is done beside the focus is said to screen readers
  const say = (text) => { document.getElementById("voice").textContent = text; };

  // -- messages can be closed; a toast that has left by itself is taken away
  const addDismissButtons = (root) => {
    for (const element of root.querySelectorAll("[data-dismiss]:not([data-ready])")) {
      element.dataset.ready = "1";
      const button = document.createElement("button");
      button.type = "button";
      button.className = "btn quiet small";
      button.textContent = "Close";
      button.addEventListener("click", () => element.remove());
      element.addEventListener("animationend", () => element.remove());
      element.append(button);
    }
  };
  addDismissButtons(document);
  document.addEventListener("htmx:load", (event) => addDismissButtons(event.detail.elt));
  document.addEventListener("htmx:oobAfterSwap", () => addDismissButtons(document));

  // -- copy buttons
  const addCopyButtons = (root) => {
    for (const element of root.querySelectorAll("[data-copy]:not([data-ready])")) {
      element.dataset.ready = "1";
      const button = document.createElement("button");
      button.type = "button";
      button.className = "btn quiet small";
      button.textContent = "Copy";
      if (element.id) button.id = `copy-${element.id}`; // so that a poll leaves the focus on it
      button.addEventListener("click", async () => {
        try {
          await navigator.clipboard.writeText(element.dataset.copy);
          button.textContent = "Copied";
        } catch {
          button.textContent = "Select it and copy";
        }
        say(button.textContent);
        setTimeout(() => { button.textContent = "Copy"; }, 2000);
      });
      element.append(button);
    }
  };
  addCopyButtons(document);
  document.addEventListener("htmx:load", (event) => addCopyButtons(event.detail.elt));
})();
