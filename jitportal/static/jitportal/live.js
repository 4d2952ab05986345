/* What htmx fetches: what is said of it, what fails, where the focus stays, and when polls wait. */
(() => {
  "use strict";

  const opened = Date.now();
  const isPoll = (element) => (element.getAttribute("hx-trigger") || "").includes("every ");

  // -- what changes without being looked at is said to screen readers, by a region that is never swapped
  const voice = document.getElementById("voice");
  const say = (text) => {
    voice.textContent = "";
    setTimeout(() => { voice.textContent = text; }, 50);
  };
  const sayings = () => new Map([...document.querySelectorAll("[data-say]")].map((element) => [element.id, element.dataset.say]));
  const greeting = [...document.querySelectorAll("#messages .toast")].map((toast) => toast.firstChild.textContent).join(" ");
  if (greeting) say(greeting);

  // -- what went wrong stays until it is right again
  const trouble = document.getElementById("trouble");
  const withdraw = (kind) => trouble.querySelector(`[data-kind=${kind}]`)?.remove();
  const tell = (kind, text) => {
    withdraw(kind);
    const note = document.createElement("p");
    note.className = "note bad";
    note.dataset.kind = kind;
    note.setAttribute("role", "alert");
    const words = document.createElement("span");
    words.textContent = text;
    const again = document.createElement("a");
    again.className = "btn small";
    again.id = `again-${kind}`;
    again.href = location.href;
    again.textContent = "Look again";
    note.append(words, again);
    trouble.append(note);
    note.scrollIntoView({ block: "nearest" });
  };

  // -- polls: not behind another tab, not where somebody paused them, not over what is being filled in
  const isBegun = (field) => field === document.activeElement || field.value !== field.defaultValue;
  const isBusy = (root) => root.querySelector("details.drop[open], details.hand[open]") !== null
    || [...root.querySelectorAll("textarea")].some(isBegun);
  const clock = (moment) => new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", timeZone: document.body.dataset.zone })
    .format(new Date(moment));
  const misses = new Map(); // by the poll's id: how often it failed in a row
  const fetched = new Map(); // by the poll's id: when it last came
  const missed = (id) => {
    misses.set(id, (misses.get(id) || 0) + 1);
    if (misses.get(id) < 2) return;
    tell("polls", `Not up to date since ${clock(Math.min(...[...misses.keys()].map((each) => fetched.get(each) || opened)))}.`);
  };
  const came = (id) => {
    fetched.set(id, Date.now());
    misses.delete(id);
    if (![...misses.values()].some((times) => times > 1)) withdraw("polls");
  };

  // -- who had the focus keeps it: a button is disabled while it is sent, and an answer may replace it
  let focused = null;
  const refocus = () => {
    if (document.activeElement && document.activeElement !== document.body) return;
    const again = focused?.isConnected ? focused : focused?.id && document.getElementById(focused.id);
    if (again) again.focus({ preventScroll: true });
  };

  document.addEventListener("htmx:beforeRequest", (event) => {
    const root = event.detail.elt;
    if (!isPoll(root)) {
      focused = document.activeElement === document.body ? null : document.activeElement;
    } else if (document.hidden || document.body.dataset.live === "off" || isBusy(root)) {
      event.preventDefault();
    }
  });

  let heard = new Map();
  let unfolded = [];
  document.addEventListener("htmx:beforeSwap", (event) => {
    const { xhr, target, requestConfig } = event.detail;
    const polled = isPoll(requestConfig.elt);
    heard = sayings();
    unfolded = polled ? [...target.querySelectorAll("details[id][open]")].map((element) => element.id) : [];
    if (/^\s*<!doctype/i.test(xhr.responseText)) { // a whole page is never put into a part of one
      event.detail.shouldSwap = false;
      if (xhr.status < 400 && !polled) location.assign(xhr.responseURL);
    } else if (xhr.status >= 400 && !polled && xhr.getResponseHeader("X-Page-Part")) {
      event.detail.shouldSwap = true;
      event.detail.isError = false;
    }
  });

  document.addEventListener("htmx:afterSwap", () => {
    for (const id of unfolded) {
      const element = document.getElementById(id);
      if (element) element.open = true;
    }
    const news = [...sayings()].filter(([id, text]) => text && heard.get(id) !== text).map(([, text]) => text);
    if (news.length) say(news.join(" "));
  });

  document.addEventListener("htmx:afterRequest", (event) => {
    const { requestConfig, successful } = event.detail;
    if (isPoll(requestConfig.elt)) {
      if (successful) came(requestConfig.elt.id);
      return;
    }
    if (successful) withdraw("sent");
    setTimeout(refocus);
  });

  // leaving a page cuts off what it asked for: that is no failure
  let isLeft = false;
  addEventListener("pagehide", () => { isLeft = true; });
  addEventListener("pageshow", () => { isLeft = false; });

  const failed = (event) => {
    if (isLeft) return;
    const { xhr, requestConfig } = event.detail;
    if (isPoll(requestConfig.elt)) {
      missed(requestConfig.elt.id);
    } else if (requestConfig.verb === "get") {
      tell("sent", "This could not be loaded.");
    } else if (xhr.status >= 400 && xhr.status < 500) {
      tell("sent", "Refused: nothing was changed. This page may be out of date.");
    } else {
      tell("sent", "Not sent, or not known: look again before you send it once more.");
    }
  };
  for (const name of ["htmx:sendError", "htmx:timeout", "htmx:responseError"]) document.addEventListener(name, failed);
})();
