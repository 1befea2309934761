// Filters the list, copies commands, and marks layers that other images have, too. The pages are complete without it, but for
// these marks: what needs it is hidden until it runs.
(() => {
  "use strict";

  const status = document.getElementById("status");
  const here = document.currentScript.src;

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

  // Which images have a layer stands in documents beside this script, one for all digests that begin alike.
  const layersDocuments = new Map();
  const ownersOf = async (digest) => {
    const [algorithm, encoded] = digest.split(":");
    const url = new URL(`layers/${algorithm}/${encoded.slice(0, 2)}.json`, here).href;
    if (!layersDocuments.has(url)) layersDocuments.set(url, fetch(url).then((response) => response.json()));
    const { layers } = await layersDocuments.get(url);
    return layers[digest] ?? [];
  };

  const markShared = async (image, platform) => {
    const parts = platform.querySelectorAll(".bar rect");
    const mark = async (layer, position) => {
      const owners = await ownersOf(layer.querySelector("code").textContent);
      if (owners.every((owner) => owner === image)) return;
      layer.classList.add("shared");
      const label = document.createElement("span");
      label.className = "mark";
      label.textContent = "shared";
      layer.append(" ", label);
      parts[position].classList.add("shared");
      parts[position].querySelector("title").textContent += ", shared";
    };
    await Promise.all([...platform.querySelectorAll(".layers li")].map(mark));
  };

  // A release asks for its layers when it is opened. Without the documents, as in a page opened as a file, nothing is marked.
  const startMarks = (image, release) => {
    const legend = release.querySelector(".legend");
    const marks = () => {
      if (!release.open) return;
      release.removeEventListener("toggle", marks);
      const platforms = [...release.querySelectorAll("details.platform")];
      const marked = Promise.all(platforms.map((platform) => markShared(image, platform)));
      marked.then(() => (legend.hidden = false)).catch(() => {});
    };
    release.addEventListener("toggle", marks);
    marks();
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
  const image = document.querySelector("h1[data-image]")?.dataset.image;
  for (const legend of document.querySelectorAll(".legend")) startMarks(image, legend.closest("details.release"));
  addEventListener("hashchange", openTarget);
  addEventListener("beforeprint", openForPrint);
  if (location.hash) openTarget();
})();
