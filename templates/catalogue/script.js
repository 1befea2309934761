// Filters the list, and copies commands. The pages are complete without it: what needs it is hidden until it runs.
(() => {
  "use strict";

  const status = document.getElementById("status");

  const startFilter = (form, input) => {
    const shown = document.getElementById("shown");
    const nothing = document.getElementById("nothing");
    const boxes = [...document.querySelectorAll("ul.rows")];
    const total = document.querySelectorAll("ul.rows > li").length;
    let rows = null;
    let applied = "";

    // Reading ten thousand rows takes a moment, so it waits until somebody wants to filter.
    const load = () => {
      rows ??= boxes.map((box) => ({
        box,
        items: [...box.children].map((item) => ({ item, text: item.textContent.toLowerCase() })),
      }));
    };

    const apply = () => {
      const wanted = input.value.trim().toLowerCase();
      if (wanted === applied) return;
      applied = wanted;
      load();
      const words = wanted.split(/\s+/);
      let count = 0;
      for (const { box, items } of rows) {
        let visible = 0;
        for (const { item, text } of items) {
          const matches = words.every((word) => text.includes(word));
          if (item.hidden === matches) item.hidden = !matches;
          if (matches) visible += 1;
        }
        if (box.hidden !== (visible === 0)) box.hidden = visible === 0;
        count += visible;
      }
      nothing.hidden = count !== 0;
      shown.textContent = wanted === "" ? "" : `${count.toLocaleString("en")} of ${total.toLocaleString("en")} images`;
      const query = wanted === "" ? location.pathname : `?q=${encodeURIComponent(wanted)}`;
      history.replaceState(null, "", query);
    };

    input.addEventListener("focus", load, { once: true });
    input.addEventListener("input", apply);
    input.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      input.value = "";
      apply();
    });
    form.addEventListener("submit", (event) => event.preventDefault());
    document.addEventListener("keydown", (event) => {
      const typing = event.target instanceof HTMLInputElement;
      if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      input.focus();
    });
    form.hidden = false;
    input.value = new URLSearchParams(location.search).get("q") ?? input.value;
    apply();
  };

  // Without a secure context (plain http on another machine) there is no clipboard API, but the old command works.
  const copyText = async (text) => {
    if (navigator.clipboard) return navigator.clipboard.writeText(text);
    const area = document.createElement("textarea");
    area.value = text;
    area.className = "unseen";
    document.body.append(area);
    area.select();
    const copied = document.execCommand("copy");
    area.remove();
    if (!copied) throw new Error("the browser does not allow copying");
  };

  const startCopy = (button) => {
    const label = button.firstChild;
    const before = label.textContent;
    let timer;
    button.addEventListener("click", async () => {
      try {
        await copyText(button.dataset.copy);
        label.textContent = "Copied";
        status.textContent = "Copied";
      } catch {
        label.textContent = "Not copied";
        status.textContent = "The browser did not allow copying";
      }
      clearTimeout(timer);
      timer = setTimeout(() => {
        label.textContent = before;
        status.textContent = "";
      }, 2000);
    });
    button.hidden = false;
  };

  // A link to a ref opens what it leads to.
  const openTarget = () => {
    let target = null;
    try {
      target = document.getElementById(decodeURI(location.hash.slice(1))) ?? document.getElementById(location.hash.slice(1));
    } catch {
      return;
    }
    const details = target?.closest("details");
    if (details) {
      details.open = true;
      target.scrollIntoView();
    }
  };

  const openForPrint = () => {
    for (const details of document.querySelectorAll("details:not([open])")) {
      details.open = true;
      addEventListener("afterprint", () => (details.open = false), { once: true });
    }
  };

  const input = document.getElementById("filter");
  if (input) startFilter(input.form, input);
  document.querySelectorAll("button.copy").forEach(startCopy);
  addEventListener("hashchange", openTarget);
  addEventListener("beforeprint", openForPrint);
  if (location.hash) openTarget();
})();
