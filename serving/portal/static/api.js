// Talks to the portal's own server. The browser holds no key; the server does the asking.

const HEADERS = { "Content-Type": "application/json", Accept: "application/json" };

export class ApiError extends Error {}

async function call(method, path, body) {
  let response;
  try {
    response = await fetch(`api/${path}`, {
      method,
      headers: HEADERS,
      body: body === undefined ? undefined : JSON.stringify(body),
      keepalive: method === "POST",
    });
  } catch {
    throw new ApiError("");
  }
  const answer = response.status === 204 ? null : await response.json().catch(() => null);
  if (!response.ok) throw new ApiError(answer?.error?.message ?? `HTTP ${response.status}`);
  return answer;
}

/** Companies worth a look, to begin with. */
export const fetchExamples = () => call("GET", "examples");

/** Companies whose name or id contains the text. */
export const findClients = (text) => call("GET", `clients?${new URLSearchParams({ text })}`);

/** The whole page of one company: profile, services and ranked offers of every placement. */
export const fetchView = (clientId, language) => call("POST", "views", { client_id: clientId, language });

/** Reports impressions, clicks and dismissals. */
export const sendEvents = (clientId, events) =>
  call("POST", "events", {
    client_id: clientId,
    events: events.map((event) => ({ event_id: crypto.randomUUID(), ...event })),
  });

/** Connects an offer after the confirmation; a retry under the same id connects nothing twice. */
export const connectOffer = (clientId, item, connectionId) =>
  call("POST", "connections", {
    client_id: clientId,
    connection_id: connectionId,
    decision_id: item.decision_id,
    slot: item.slot,
    offer_id: item.offer_id,
  });

/** Turns the company's profiling switch. */
export const setProfiling = (clientId, isAllowed) =>
  call("PUT", `clients/${encodeURIComponent(clientId)}/profiling`, { is_allowed: isAllowed });
