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

/** What was shown to whom, which is all that taking an offer needs; a retry takes nothing twice. */
const shown = (clientId, { decision_id, slot, offer_id }) => ({ client_id: clientId, decision_id, slot, offer_id });

/** Connects something new, or the next edition. */
export const connectOffer = (clientId, item) => call("POST", "connections", shown(clientId, item));

/** Renews the term until the day that the card named. */
export const renewOffer = (clientId, item) =>
  call("POST", "renewals", {
    ...shown(clientId, item),
    holding_id: item.held.holding_id,
    term_ends_on: item.held.renewed_until,
  });

/** Raises the quantity by so many pieces. */
export const expandOffer = (clientId, item, nMore) =>
  call("POST", "expansions", {
    ...shown(clientId, item),
    holding_id: item.held.holding_id,
    quantity: item.held.quantity + nMore,
  });

/** Asks for a call about something that the company has. */
export const applyForOffer = (clientId, item) => call("POST", "applications", shown(clientId, item));

/** The account of one list: the funnel, what its places are made of, what is not shown and why. */
export const fetchExplanation = (clientId, language, placementId) =>
  call("POST", "explanations", { client_id: clientId, language, placement_id: placementId });

/** Turns the company's profiling switch. */
export const setProfiling = (clientId, isAllowed) =>
  call("PUT", `clients/${encodeURIComponent(clientId)}/profiling`, { is_allowed: isAllowed });
