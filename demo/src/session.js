// Shows that the session of this page has ended, whoever ended it. The page stays as it is: a form
// that the user has begun to fill in is not lost to a reload.

const EVENTS = "/api/session/events";
const RETRY_MS = 5000;

let events;

function show() {
  document.getElementById("ended").hidden = false;
}

function close() {
  events?.close();
  events = undefined;
}

// A browser opens few connections to a site, so pages that nobody sees give theirs back.
function watch() {
  close();
  if (document.hidden) return;
  const opened = events = new EventSource(EVENTS);
  opened.addEventListener("ended", () => {
    close();
    show();
  });
  opened.addEventListener("error", async () => {
    // after a lost connection the browser connects again, but not after an error status
    if (opened !== events || opened.readyState !== EventSource.CLOSED) return;
    const response = await fetch(EVENTS, { method: "HEAD" }).catch(() => undefined);
    if (opened !== events) return;
    if (response?.status === 401) show();
    else setTimeout(() => opened === events && watch(), RETRY_MS);
  });
}

document.addEventListener("visibilitychange", watch);
// the next page says it: this one is about to go away
document.addEventListener("submit", close);
watch();
