"use strict";
// Keeps an open page up to date: times tick, events bring the page anew, forms need no reload.
// Without this script every page and every form works as well.
(() => {
  document.documentElement.classList.add("js");
  const AGAIN_MS = 1000, POLL_MS = 5000, STREAM_AGAIN_MS = 15000, MOST_STREAMS = 4;
  const link = document.getElementById("link"), linkText = document.getElementById("link-text");
  let ahead = Number(document.body.dataset.now) - Date.now();
  let stream = null, lastId = "", pollTimer = 0, streamTimer = 0, due = false, busy = false;

  // --- times, in the words of health/texts.py
  const span = (seconds) => {
    if (seconds < 10) return `${Math.max(0, seconds).toFixed(1)} s`;
    const whole = Math.round(seconds);
    for (const [size, name, smaller, small] of [[86400, "d", 3600, "h"], [3600, "h", 60, "min"], [60, "min", 1, "s"]]) {
      if (whole < size) continue;
      const rest = Math.floor(whole % size / smaller);
      return `${Math.floor(whole / size)} ${name}` + (rest ? ` ${rest} ${small}` : "");
    }
    return `${whole} s`;
  };
  const short = (seconds) => seconds < 10 ? `${Math.max(0, Math.floor(seconds))} s` : span(seconds);
  const tick = () => {
    const now = Date.now() + ahead;
    for (const time of document.querySelectorAll("time[data-as]")) {
      const left = (Number(time.dataset.ms) - now) / 1000;
      const how = time.dataset.as;
      const text = how === "age" ? short(-left) : how === "in" ? (left > 0 ? `in ${short(left)}` : "now") : time.textContent;
      if (text !== time.textContent) time.textContent = text;
      if (how === "in" && left <= 0 && !time.dataset.over) { time.dataset.over = "1"; bring(); }
    }
  };

  // --- the page anew: what differs is replaced, so that focus, typing and scrolling stay
  const same = (a, b) => a.nodeName === b.nodeName && (a.id || "") === (b.id || "");
  const morph = (old, now) => {
    if (old.nodeType === Node.TEXT_NODE) { if (old.data !== now.data) old.data = now.data; return; }
    if (old.nodeType !== Node.ELEMENT_NODE || old.isEqualNode(now)) return;
    for (const { name } of [...old.attributes]) if (!now.hasAttribute(name) && !(name === "open" && old.localName === "details")) old.removeAttribute(name);
    for (const { name, value } of [...now.attributes]) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    if (old.matches("input,select,textarea") && old.matches(":focus")) return;
    const flash = old.hasAttribute("data-flash") && old.textContent !== now.textContent;
    const byId = new Map([...old.children].filter((c) => c.id).map((c) => [c.id, c]));
    let at = old.firstChild;
    for (const wanted of [...now.childNodes]) {
      const known = wanted.id && byId.get(wanted.id);
      if (known && known !== at) { old.insertBefore(known, at); morph(known, wanted); continue; }
      if (at && same(at, wanted)) { const next = at.nextSibling; morph(at, wanted); at = next; continue; }
      old.insertBefore(document.importNode(wanted, true), at);
    }
    while (at) { const next = at.nextSibling; at.remove(); at = next; }
    if (flash) { old.classList.remove("is-new"); void old.offsetWidth; old.classList.add("is-new"); }
  };
  const show = (kind, text) => { link.className = `link is-${kind}`; linkText.textContent = text; };
  const bring = async () => {
    if (busy) { due = true; return; }
    busy = true; due = false;
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" }, cache: "no-store" });
      const text = await answer.text();
      if (!answer.headers.get("Content-Type").startsWith("text/html")) throw new Error(String(answer.status));
      const page = new DOMParser().parseFromString(text, "text/html");
      ahead = Number(page.body.dataset.now) - Date.now();
      morph(document.getElementById("main"), page.getElementById("main"));
      morph(document.querySelector(".level"), page.querySelector(".level"));
      tick();
      if (stream && stream.readyState === EventSource.OPEN) show("live", "live");
      else show("polling", "polling");
    } catch {
      show("cut", "no answer, trying again");
      schedule(2000);
    }
    setTimeout(() => { busy = false; if (due) bring(); }, 300);
  };
  const schedule = (ms) => { clearTimeout(pollTimer); pollTimer = setTimeout(() => { bring(); schedule(POLL_MS); }, ms); };

  // --- the stream; where there is none, the page asks again and again
  // A browser opens six connections to a host, for all its windows together: a page that finds four
  // others with a stream polls, so that two are left for everything else.
  const windows = new BroadcastChannel("assetq");
  let streams = 0;
  windows.onmessage = ({ data }) => {
    if (data === "who" && stream) windows.postMessage("a stream");
    if (data === "a stream") streams += 1;
  };
  const open = () => {
    clearTimeout(streamTimer);
    streams = 0;
    windows.postMessage("who");
    streamTimer = setTimeout(() => {
      if (stream || document.visibilityState === "hidden") return;
      if (streams < MOST_STREAMS) { connect(); return; }
      streamTimer = setTimeout(open, STREAM_AGAIN_MS);
      show("polling", "polling");
      schedule(POLL_MS);
    }, 50);
  };
  const connect = () => {
    const source = new EventSource(link.dataset.live + (lastId ? `?after=${encodeURIComponent(lastId)}` : ""));
    stream = source;
    source.onopen = () => { clearTimeout(pollTimer); show("live", "live"); bring(); };
    source.addEventListener("refresh", (event) => { lastId = event.lastEventId; bring(); });
    source.addEventListener("change", bring);
    source.onerror = () => {
      if (source.readyState === EventSource.CLOSED) {
        close();
        streamTimer = setTimeout(open, STREAM_AGAIN_MS);
      }
      schedule(AGAIN_MS);
    };
  };
  const close = () => { if (stream) stream.close(); stream = null; };
  const asleep = () => { close(); clearTimeout(pollTimer); clearTimeout(streamTimer); };
  document.addEventListener("visibilitychange", () => document.visibilityState === "hidden" ? asleep() : (open(), bring()));
  addEventListener("pagehide", asleep);
  addEventListener("pageshow", (event) => { if (event.persisted) { open(); bring(); } });

  // --- forms
  const toast = document.getElementById("toast"), ask = document.getElementById("ask");
  let toastTimer = 0;
  const say = (text) => {
    toast.textContent = text;
    toast.hidden = false;
    clearTimeout(toastTimer);
    toastTimer = setTimeout(() => { toast.hidden = true; }, 8000);
  };
  const sure = (text) => new Promise((done) => {
    document.getElementById("ask-text").textContent = text;
    ask.onclose = () => done(ask.returnValue === "yes");
    ask.returnValue = "no";
    ask.showModal();
  });
  document.addEventListener("submit", async (event) => {
    const form = event.target;
    if (form.matches("[data-filter]")) { event.preventDefault(); go(form); return; }
    if (!form.matches(".act")) return;
    event.preventDefault();
    const body = new URLSearchParams(new FormData(form, event.submitter));
    if (form.dataset.ask && !await sure(form.dataset.ask)) return;
    try {
      const answer = await fetch(form.action, { method: "POST", body, headers: { Accept: "application/json" } });
      const json = answer.headers.get("Content-Type").startsWith("application/json");
      say(json ? (await answer.json()).told : await answer.text());
    } catch { say("No answer: nothing may have been done. Look again, and try again."); }
    bring();
  });
  const go = (form) => {
    const asked = new URLSearchParams([...new FormData(form)].filter(([, value]) => value));
    history.replaceState(null, "", `${location.pathname}${asked.size ? `?${asked}` : ""}`);
    bring();
  };
  let typing = 0;
  document.addEventListener("input", (event) => {
    const form = event.target.closest("[data-filter]");
    if (!form) return;
    clearTimeout(typing);
    typing = setTimeout(() => go(form), 200);
  });
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    const text = document.getElementById(button.dataset.copy).textContent;
    try { await navigator.clipboard.writeText(text); say("Copied."); } catch { say("Select the text and copy it: the browser allows no more."); }
  });
  for (const button of document.querySelectorAll("[data-copy]")) button.hidden = false;

  setInterval(tick, 1000);
  open();
})();
