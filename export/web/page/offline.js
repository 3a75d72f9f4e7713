// A service worker: keeps what was fetched, and answers with it where there is no network.

const STORE = "musika";

addEventListener("install", () => skipWaiting());
addEventListener("activate", (event) => event.waitUntil(clients.claim()));

addEventListener("fetch", (event) => {
  const { request } = event;
  if (request.method === "GET" && new URL(request.url).origin === location.origin) {
    event.respondWith(answer(request));
  }
});

// What the page fetched before this was there.
addEventListener("message", (event) => {
  event.waitUntil(keep(event.data).then(() => event.source.postMessage("kept")));
});

async function keep(addresses) {
  const store = await caches.open(STORE);
  for (const address of new Set(addresses)) {
    if (!(await store.match(address, { ignoreSearch: true }))) await store.add(address);
  }
}

async function answer(request) {
  const store = await caches.open(STORE);
  try {
    const response = await fetch(request);
    if (response.ok) await store.put(request, response.clone());
    return response;
  } catch (error) {
    const kept = await store.match(request, { ignoreSearch: true });
    if (kept) return kept;
    throw error;
  }
}
